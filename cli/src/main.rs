//! The command line: `agentrun`.

#![forbid(unsafe_code)]

mod args;
mod bounded;
mod cluster;
mod local;
mod printer;
mod report;
mod settings;
mod simulate;
mod talk;
mod verbs;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Arguments, Verb},
    printer::Printer,
    verbs::Context,
};

/// A call makes many small allocations: measured, a tenth of its CPU time is saved over glibc's allocator. Huge pages are left alone:
/// they would nearly double what an idle proxy holds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let arguments = Arguments::parse();
    let context = Context { printer: Printer::default(), state: arguments.state };
    let verbose = matches!(&arguments.verb, Verb::Serve(serve) if serve.verbose);
    talk::install(&context.printer, verbose);
    let outcome = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        let outcome = runtime.block_on(dispatch(arguments.verb, &context));
        // A thread that still waits for a disk or a lock is not waited for.
        runtime.shutdown_background();
        outcome
    });
    talk::exit_code(outcome, &context.printer)
}

async fn dispatch(verb: Verb, context: &Context) -> anyhow::Result<u8> {
    match verb {
        Verb::Run(arguments) => verbs::run::run(arguments, context).await,
        Verb::Exec(arguments) => verbs::exec::run(arguments, context).await,
        Verb::Serve(arguments) => verbs::serve::run(arguments, context).await,
        Verb::Get(arguments) => verbs::get::run(arguments, context).await,
        Verb::Calls(arguments) => verbs::calls::run(arguments, context).await,
        Verb::Export(arguments) => verbs::export::run(arguments, context).await,
        Verb::Apply(arguments) => verbs::apply::run(arguments, context).await,
        Verb::Watch(arguments) => verbs::watch::run(arguments, context).await,
        Verb::Logs(arguments) => verbs::logs::run(arguments, context).await,
        Verb::Delete(arguments) => verbs::delete::run(arguments, context).await,
        Verb::Inject(arguments) => verbs::inject::run(arguments, context),
        Verb::Cache(arguments) => verbs::cache::run(arguments, context),
        Verb::Validate(arguments) => verbs::validate::run(arguments, context),
        Verb::Completion(arguments) => verbs::completion::run(arguments, context),
    }
}
