//! `agentrun validate`: a manifest's mistakes, all at once.

use agentrun_protocol::sentence;

use super::{COMPLETE, Context, Refused};
use crate::{
    args,
    local::{environment, plan::Plan},
};

/// Reads the manifest and all it names, as `run` would.
pub(crate) fn run(arguments: args::Validate, context: &Context) -> anyhow::Result<u8> {
    let plan = Plan::read(&arguments.file, &environment::inherited()).map_err(|error| Refused(sentence(&error)))?;
    plan.notes.iter().for_each(|note| context.printer.note(note));
    let (combos, datapoints, samples) = (plan.combos.len(), plan.dataset.len(), plan.spec.samples);
    let file = arguments.file.display();
    let trials = plan.spec.trials();
    let line = format!(
        "{file}: AgentRun `{}` is valid: {combos} combos x {datapoints} datapoints x {samples} samples = {trials} trials\n",
        plan.name
    );
    context.printer.data(line.as_bytes())?;
    Ok(COMPLETE)
}
