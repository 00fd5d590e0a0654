//! The `agentrun-sidecar` binary: in a pod, or on this machine with one session.

use agentrun_sidecar::{
    BodyError,
    args::{Cli, Command},
    pod, run, score, sentence,
};
use clap::Parser;

/// A call makes many small allocations: measured, a tenth of its CPU time is saved over glibc's allocator. Huge pages are left alone:
/// they would nearly double what an idle proxy holds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of a pod's sidecar that serve calls.
const POD_THREADS: usize = 2;

fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let cli = Cli::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if cli.command.is_some() {
        // One agent's calls keep no more busy, and each further thread takes memory on a machine with many cores.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.min(POD_THREADS));
    }
    let runtime = runtime.enable_all().build();
    let ran = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(main_of(&cli)));
    match ran {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", sentence(error.as_ref()));
            std::process::ExitCode::FAILURE
        }
    }
}

async fn main_of(cli: &Cli) -> Result<(), BodyError> {
    match &cli.command {
        None => run(&cli.args).await,
        Some(Command::Pod(args)) => Ok(pod::run(args).await?),
        Some(Command::Score(args)) => Ok(score::run(args).await?),
    }
}
