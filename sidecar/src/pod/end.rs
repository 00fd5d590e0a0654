//! The end of a pod: everything that the hub is to know, and last of all that this was all.

use std::time::{Duration, SystemTime};

use agentrun_protocol::{
    paths,
    trial::{End, Output},
};

use super::{
    Pod, PodError,
    delivery::Delivery,
    exchange::{Collected, between},
};
use crate::{
    Totals,
    hub::Ask,
    journal::{JournalError, Outbox},
};

/// For answers to reach the hub's cache: other pods wait for them.
const FOR_ANSWERS: Duration = Duration::from_secs(1);

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The agent may begin.
    pub(super) ready: SystemTime,
    /// The pod was told to end.
    pub(super) stopped: SystemTime,
}

/// Ships and delivers what is left, and says that the trial has ended. It goes on trying while the hub is away.
pub(super) async fn end(pod: &Pod, times: Times) -> Result<(), PodError> {
    let proxy = &pod.sidecar.proxy;
    if !proxy.drain.close(pod.grace).await {
        tracing::warn!("some calls did not end within the grace");
    }
    let flush = async {
        match &proxy.journal {
            Some(journal) => journal.flush().await,
            None => Ok(()),
        }
    };
    let answers = async {
        if let Some(remote) = proxy.cache.remote() {
            remote.settle(FOR_ANSWERS).await;
        }
    };
    let output = async {
        match &pod.delivery {
            Some(delivery) => Some(delivery.deliver().await),
            None => None,
        }
    };
    let records = async {
        let flushed = flush.await;
        let last = pod.shipping.all().await;
        (flushed, last)
    };
    let ((flushed, last), (), output) = tokio::join!(records, answers, output);
    let unwritten = flushed.is_err();
    if let Err(failure) = flushed {
        tracing::error!(%failure, "some records could not be written and are lost");
    }
    let totals = pod.session.totals();
    let end = message(pod, last + u64::from(unwritten), &totals, output, times);
    pod.hub.insist(|| Ask::post(paths::TRIAL_END, &end)).await.map(drop).map_err(PodError::End)
}

fn message(pod: &Pod, last_sequence: u64, totals: &Totals, output: Option<Collected>, times: Times) -> End {
    let exit = pod.delivery.as_ref().and_then(|delivery| delivery.exchange().exit());
    let wall = match (&exit, &pod.delivery) {
        (Some(exit), _) => exit.seconds,
        (None, delivery) => guessed(pod, delivery.as_deref(), times).as_secs_f64(),
    };
    let (output, output_problem) = output.map_or((Output::Missing, None), |collected| (collected.output, collected.problem));
    End {
        last_sequence,
        output,
        output_problem,
        exit_code: exit.map(|exit| exit.code),
        wall_seconds: wall,
        failed_handshakes: totals.failed_handshakes,
        cached_seconds: totals.cached_seconds,
        upstream_unreachable: totals.calls > 0 && totals.unanswered == totals.calls,
        restarts: pod.restarts,
    }
}

/// How long an agent ran whose command is not wrapped. It is pulled and started some time after this sidecar, and the kubelet tells its end up to
/// a second late: its first and last signs of life are nearer to the truth.
fn guessed(pod: &Pod, delivery: Option<&Delivery>, times: Times) -> Duration {
    let calls = Outbox::open(&pod.journal).and_then(|journal| journal.span());
    let calls = calls.unwrap_or_else(|error: JournalError| {
        tracing::debug!(%error, "cannot tell when calls began and ended");
        None
    });
    let (first_look, last_write) = match delivery.map(Delivery::exchange) {
        Some(exchange) => (exchange.first_look(), exchange.last_write()),
        None => (None, None),
    };
    let began = first_look.into_iter().chain(calls.map(|(first, _)| first)).min().unwrap_or(times.ready);
    let ended = last_write.map(|written| calls.map_or(written, |(_, last)| last.max(written)));
    between(began, ended.unwrap_or(times.stopped).min(times.stopped))
}
