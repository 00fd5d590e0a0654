//! The test origin as a program: prints `ready port=PORT ca=FILE` and serves until it is told to stop.
//!
//! `agentrun-test-origin [--address IP] [--port N] [--ca FILE] [--log FILE] [--http1] [--control PORT] [--certificate FILE --key FILE]`

use std::io::Write;
use std::path::PathBuf;

use agentrun_tests::origin::{Options, Origin};
use tokio::signal::unix::{SignalKind, signal};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (options, ca) = options(std::env::args().skip(1))?;
    let own_authority = options.certificate.is_none();
    let mut terminate = signal(SignalKind::terminate())?;
    let origin = Origin::start(options).await?;
    if own_authority {
        std::fs::write(&ca, origin.ca_pem())?;
    }
    writeln!(std::io::stdout(), "ready port={} ca={}", origin.address().port(), ca.display())?;
    std::io::stdout().flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    origin.stop().await;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<(Options, PathBuf), Error> {
    let mut options = Options::default();
    let mut ca = std::env::temp_dir().join(format!("agentrun-test-origin-{}.pem", std::process::id()));
    let (mut certificate, mut key) = (None, None);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--port" => options.port = value()?.parse()?,
            "--ca" => ca = value()?.into(),
            "--log" => options.log = Some(value()?.into()),
            "--address" => options.address = value()?.parse()?,
            "--control" => options.control = Some(value()?.parse()?),
            "--certificate" => certificate = Some(value()?.into()),
            "--key" => key = Some(value()?.into()),
            "--http1" => options.http2 = false,
            _ => {
                return Err(format!(
                    "unknown argument {name}; known are --address, --port, --ca, --log, --http1, --control, --certificate, --key"
                )
                .into());
            }
        }
    }
    options.certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("--certificate and --key go together".into()),
    };
    Ok((options, ca))
}
