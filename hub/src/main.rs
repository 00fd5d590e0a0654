//! The `agentrun-hub` binary: flags, the log, signals.

use agentrun_hub::config::{Args, LogFormat};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A request makes many small allocations. Huge pages are left alone: they would nearly double what an idle hub holds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    // rustls takes the one provider that is built in; saying so keeps it one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let ran = tokio::runtime::Runtime::new().map_err(Failure::from).and_then(|runtime| runtime.block_on(serve(&args)));
    match ran {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", agentrun_hub::sentence(error.as_ref()));
            std::process::ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

async fn serve(args: &Args) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(agentrun_hub::service::run(args, stop).await?)
}
