//! The `agentrun-operator` binary: wiring only.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use agentrun_operator::args::{Args, Command};
use agentrun_operator::traces::Traces;
use agentrun_operator::{self_test, sentence};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // One provider in the process; a second call would only say that there is one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let traces = Traces::asked_for(&args);
    let layer = traces.as_ref().ok().and_then(Option::as_ref).map(Traces::layer);
    tracing_subscriber::registry().with(lines(args.log_json)).with(layer).init();
    let traces = match traces {
        Ok(traces) => traces,
        Err(error) => return ended(Err(sentence(&error)), "the operator ends"),
    };
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let code = match &args.command {
        Some(Command::SelfTest { namespace }) => {
            ended(self_test::run(namespace).await.map_err(|error| sentence(&error)), "the self-test failed")
        }
        None => ended(agentrun_operator::start(args, stop).await.map_err(|error| sentence(&error)), "the operator ends"),
    };
    if let Some(Err(error)) = futures::future::OptionFuture::from(traces.map(Traces::stop)).await {
        tracing::warn!(error = sentence(&error), "the last traces are lost");
    }
    code
}

/// Log lines on standard error, as `RUST_LOG` asks for them.
fn lines<S>(is_json: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube=warn,kube_client::client::builder=off"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    if is_json { lines.json().boxed() } else { lines.boxed() }.with_filter(filter)
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
