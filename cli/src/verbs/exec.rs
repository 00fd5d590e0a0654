//! `agentrun exec`: one command with its calls seen.

use std::{
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::Duration,
};

use agentrun_eval::decimal;
use agentrun_llm::provider::Hosts;
use agentrun_sidecar::{CacheConfig, CaptureMode, Config, Session, Totals};
use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{Context, readable, router, start_proxy};
use crate::{
    args,
    local::{
        certificates::Certificates,
        environment::{self, Interception, Variables},
    },
    settings::State,
};

/// How long calls that outlive the command are waited for.
const GRACE: Duration = Duration::from_secs(5);
/// What a shell exits with where the program is missing.
const NOT_FOUND: u8 = 127;
/// What a shell exits with where the program cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Runs the command in this process's own group and terminal. Its exit code is ours; 128 + N where signal N ended it, as shells have it.
pub(crate) async fn run(arguments: args::Exec, context: &Context) -> anyhow::Result<u8> {
    readable(&arguments.upstream.authorities)?;
    let router = arguments.routing.as_deref().map(router).transpose()?;
    let state = State::at(&context.state, false)?;
    state.prepare()?;
    let mut hosts = Hosts::builtin();
    arguments.upstream.add_to(&mut hosts);
    let local_hosts = arguments.upstream.providers.iter().filter_map(|provider| environment::local_host(&provider.base_url)).collect();
    let config = Config {
        hosts,
        upstreams: arguments.upstream.rules,
        upstream_ca: arguments.upstream.authorities,
        cache: CacheConfig { path: Some(state.cache()), ..CacheConfig::default() },
        journal: Some(state.calls()),
        capture: arguments.capture.clone(),
        ..Config::default()
    };
    let sidecar = start_proxy(config)?;
    let certificates =
        Certificates::write(&state, sidecar.ca_pem(), sidecar.bundle_pem()).context("writing the certificates that the command trusts")?;
    let ids =
        [("AGENTRUN_DATA_ID", &arguments.data_id), ("AGENTRUN_COMBO_ID", &arguments.combo_id), ("AGENTRUN_AGENT_ID", &arguments.agent_id)];
    let ids: Variables = ids.into_iter().filter_map(|(name, id)| Some((name.into(), id.clone()?.into()))).collect();
    let session = Session {
        data_id: arguments.data_id,
        combo_id: arguments.combo_id,
        agent_id: arguments.agent_id,
        scope: "exec".to_owned(),
        cache: arguments.cache,
        router,
        ..Session::default()
    };
    let session = sidecar.open(session).await.context("opening the proxy's port")?;
    let interception = Interception {
        authority: certificates.authority(),
        bundle: certificates.bundle(),
        connect: arguments.capture.contains(&CaptureMode::Connect),
        base_url: arguments.capture.contains(&CaptureMode::BaseUrl),
        local_hosts,
    };
    let inherited = environment::inherited();
    let variables = interception.variables(session.address(), &inherited);
    let (program, rest) = arguments.command.split_first().context("the command is empty")?;
    let mut signals = Signals::listen().context("listening for signals")?;
    let spawned = Command::new(program).args(rest).envs(variables).envs(ids).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            context.printer.error(&format!("starting `{}`: {error}", program.to_string_lossy()));
            return Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE });
        }
    };
    let status = signals.pass_on_until_end(&mut child).await.context("waiting for the command")?;
    let totals = session.close(GRACE).await;
    sidecar.stop(GRACE).await;
    context.printer.talk(&summary(&totals));
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn summary(totals: &Totals) -> String {
    let calls = if totals.calls == 1 { "call" } else { "calls" };
    let mut parts = vec![
        format!("{} {calls}, {} cached", totals.calls, totals.cached),
        format!("${} spent, ${} saved", decimal::usd(totals.usd), decimal::usd(totals.saved_usd)),
        format!("{} tokens in, {} out", totals.input_tokens, totals.output_tokens),
    ];
    let counts = [(totals.failed, "failed"), (totals.unreadable, "unreadable"), (totals.unpriced, "without a price")];
    parts.extend(counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    format!("agentrun: {}", parts.join(" · "))
}

/// Signals that are the command's, not ours.
struct Signals {
    received: mpsc::UnboundedReceiver<Signal>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let (sender, received) = mpsc::unbounded_channel();
        let kinds = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
        for kind in kinds {
            let (mut stream, sender) = (signal(SignalKind::from_raw(kind as i32))?, sender.clone());
            tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(kind).is_ok() {} });
        }
        Ok(Self { received })
    }

    async fn pass_on_until_end(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        // The terminal itself signals every process of the group, the command too: passed on, it would come twice.
        let at_terminal = io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        loop {
            tokio::select! {
                status = child.wait() => return status,
                Some(signal) = self.received.recv() => {
                    let came_twice = at_terminal && matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
                    if let (Some(pid), false) = (pid, came_twice) {
                        // A command that is gone needs no signal.
                        let _ = kill(pid, signal);
                    }
                }
            }
        }
    }
}
