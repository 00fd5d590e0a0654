//! The output on its way to the hub: early, as soon as the agent seems to be done with it, and for good at the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentrun_protocol::{paths, trial::Output};
use tokio::{sync::Mutex, task::JoinHandle};

use super::exchange::{Collected, Exchange, Stamp};
use crate::hub::{Ask, Hub};

/// How often it is looked whether the agent has ended.
const LOOK: Duration = Duration::from_millis(100);
/// An output that has not changed for so long may be all of it.
const QUIET: Duration = Duration::from_secs(1);

/// Delivers one trial's output.
pub(super) struct Delivery {
    hub: Arc<Hub>,
    exchange: Exchange,
    limit: u64,
    /// What the hub has.
    put: Mutex<Option<Stamp>>,
}

impl Delivery {
    pub(super) fn new(hub: Arc<Hub>, exchange: Exchange, limit: u64) -> Arc<Self> {
        Arc::new(Self { hub, exchange, limit, put: Mutex::default() })
    }

    /// Watches for the agent's end, so that the output is with the hub before this pod has to end.
    pub(super) fn early(self: &Arc<Self>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut seen: Option<(Option<Stamp>, Instant)> = None;
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                if this.exchange.exit().is_some() {
                    this.deliver().await;
                    return;
                }
                let stamp = this.exchange.stamp();
                match seen {
                    Some((last, since)) if last == stamp => {
                        if stamp.is_some() && since.elapsed() >= QUIET {
                            this.deliver().await;
                        }
                    }
                    _ => seen = Some((stamp, Instant::now())),
                }
            }
        })
    }

    /// Brings the output to the hub as it is now, however long that takes, unless the hub has it already.
    pub(super) async fn deliver(&self) -> Collected {
        let mut put = self.put.lock().await;
        let collected = self.exchange.collect(self.limit);
        if collected.output != Output::Present || *put == collected.stamp {
            return collected;
        }
        let bytes = bytes::Bytes::from(collected.bytes.clone());
        match self.hub.insist(|| Ask::put(paths::TRIAL_OUTPUT, bytes.clone())).await {
            Ok(_) => {
                *put = collected.stamp;
                collected
            }
            Err(error) => {
                tracing::error!(%error, "the hub does not take the output");
                Collected {
                    output: Output::Missing,
                    bytes: Vec::new(),
                    problem: Some(format!("the hub did not take the output: {error}")),
                    stamp: None,
                }
            }
        }
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}
