//! Prints what is generated from the resource's types.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is all it does")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("schema") => {
            print!("{}", agentrun_crds::schema::agent_run_text());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: crdgen schema > crds/schema/agentrun.json");
            ExitCode::from(2)
        }
    }
}
