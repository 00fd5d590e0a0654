//! The `agentrun-operator` binary: wiring only.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use agentrun_operator::args::{Args, Command};
use agentrun_operator::{self_test, sentence};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // One provider in the process; a second call would only say that there is one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,kube_client::client::builder=off"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    if args.log_json {
        lines.json().init()
    } else {
        lines.init()
    }
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    if let Some(Command::SelfTest { namespace }) = &args.command {
        return ended(self_test::run(namespace).await.map_err(|error| sentence(&error)), "the self-test failed");
    }
    ended(agentrun_operator::start(args, stop).await.map_err(|error| sentence(&error)), "the operator ends")
}

fn ended(outcome: Result<(), String>, what: &str) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "{what}");
            ExitCode::FAILURE
        }
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}
