//! `agentrun completion`: a script for a shell.

use clap::CommandFactory;

use super::{COMPLETE, Context};
use crate::args;

/// Writes the script.
pub(crate) fn run(arguments: args::Completion, context: &Context) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::Arguments::command(), "agentrun", &mut script);
    context.printer.data(&script)?;
    Ok(COMPLETE)
}
