//! Prints what is generated from the resource's types.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is all it does")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let text = match std::env::args().nth(1).as_deref() {
        Some("schema") => agentrun_crds::schema::agent_run_text(),
        Some("definition") => agentrun_crds::crd::definition_text(),
        _ => {
            eprintln!("usage: crdgen schema > crds/schema/agentrun.json\n       crdgen definition > charts/agentrun/files/agentruns.yaml");
            return ExitCode::from(2);
        }
    };
    print!("{text}");
    ExitCode::SUCCESS
}
