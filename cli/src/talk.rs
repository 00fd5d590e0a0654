//! What goes wrong, told to people: errors with their causes and advice, and the log.

use std::{io, process::ExitCode};

use agentrun_hub::StoreError;
use agentrun_protocol::sentence;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    printer::Printer,
    verbs::{BAD_USAGE, COMPLETE, FAILED, Refused},
};

/// What is logged unless `RUST_LOG` says otherwise. The cluster's client logs each failure that it then returns.
const QUIET: &str = "warn,kube_client=off";

/// What is logged where more is asked for.
const VERBOSE: &str = "info,agentrun=debug,agentrun_sidecar=debug";

/// Sends the log to stderr, below the status line's feet. `RUST_LOG` says what is logged; warnings by default.
pub(crate) fn install(printer: &Printer, verbose: bool) {
    let usual = if verbose { VERBOSE } else { QUIET };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let writer = Writer(printer.clone());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).without_time().with_target(false).with_ansi(false).init();
}

/// Tells an error with its causes, and gives the exit code. That nobody reads stdout any more is no error.
pub(crate) fn exit_code(outcome: anyhow::Result<u8>, printer: &Printer) -> ExitCode {
    let error = match outcome {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    printer.end_status();
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::from(COMPLETE);
    }
    printer.error(&sentence(error.as_ref()));
    if let Some(advice) = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()?.advice()) {
        printer.talk(advice);
    }
    ExitCode::from(if error.is::<Refused>() { BAD_USAGE } else { FAILED })
}

/// Lines of the log, through the printer.
#[derive(Clone)]
struct Writer(Printer);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The subscriber writes whole events, each with its line end.
        self.0.talk(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
