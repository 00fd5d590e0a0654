//! Records on their way from the journal to the hub: batch by batch, each acknowledged before the next is sent. Nobody waits for it but the
//! pod's end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentrun_protocol::{paths, trial::Acknowledged};
use bytes::Bytes;
use http::StatusCode;
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    hub::{Ask, Backoff, Hub, HubError},
    journal::{Batch, BatchLimit, JournalError, Outbox, Spool},
    ship::progress::{Progress, Shipped},
};

mod progress;
#[cfg(test)]
mod tests;

/// What a batch may hold.
const BATCH: BatchLimit = BatchLimit { records: 512, bytes: 4 << 20, without_bodies: false };
/// Pauses after a batch that was not taken.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why records cannot be shipped for now.
#[derive(Debug, Error)]
enum ShipError {
    #[error("read records to ship")]
    Journal(#[from] JournalError),
    #[error("ship records")]
    Hub(#[from] HubError),
    #[error("remember what was shipped in {path}: {source}")]
    Progress { path: PathBuf, source: std::io::Error },
}

/// Ships a journal's records, as long as it is kept.
pub(crate) struct Shipping {
    shipped: watch::Receiver<Shipped>,
    written: watch::Receiver<u64>,
    begins_anew: bool,
    shipping: JoinHandle<()>,
}

impl Shipping {
    /// Goes on where the shipper of before stopped. `room` is asked to make use of what was shipped.
    pub(crate) fn start(hub: Arc<Hub>, journal: &Path, spool: Arc<Spool>, room: impl Fn() + Send + 'static) -> Self {
        let progress = Progress::read(journal);
        let written = spool.written();
        // Numbers of a journal that was lost with its records cannot be told from those of the next.
        let begins_anew = progress.shipped().sequence > *written.borrow();
        if begins_anew {
            tracing::error!(
                shipped = progress.shipped().sequence,
                "the journal is not the one that was shipped from: records of it are missing"
            );
        }
        let (tell, shipped) = watch::channel(progress.shipped());
        let shipper = Shipper { hub, journal: journal.to_owned(), spool, progress, tell, outbox: Arc::default() };
        let shipping = tokio::spawn(shipper.run(written.clone(), room));
        Self { shipped, written, begins_anew, shipping }
    }

    /// Waits until the hub has every record that is on disk, however long that takes, and gives the number that the last one has there. One more
    /// where records were lost, so that the hub knows.
    pub(crate) async fn all(&self) -> u64 {
        let last = *self.written.borrow();
        let mut shipped = self.shipped.clone();
        // The shipper ends with this only.
        shipped.wait_for(|shipped| shipped.sequence >= last).await.ok();
        let Shipped { sequence, lost } = *shipped.borrow();
        let last = if self.begins_anew { last.max(sequence) } else { last };
        last.saturating_sub(lost) + u64::from(self.begins_anew || lost > 0)
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.shipping.abort();
    }
}

struct Shipper {
    hub: Arc<Hub>,
    journal: PathBuf,
    spool: Arc<Spool>,
    progress: Progress,
    tell: watch::Sender<Shipped>,
    outbox: Arc<Mutex<Option<Outbox>>>,
}

impl Shipper {
    async fn run(mut self, mut written: watch::Receiver<u64>, room: impl Fn() + Send + 'static) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut limit = BATCH;
        let mut told = String::new();
        self.spool.acknowledge(self.progress.shipped().sequence);
        while written.wait_for(|last| *last > self.progress.shipped().sequence).await.is_ok() {
            match self.ship(limit).await {
                Ok(()) => {
                    (limit, told) = (BATCH, String::new());
                    backoff.reset();
                    if self.spool.wants_trimming() {
                        room();
                    }
                }
                Err(error) => {
                    limit = smaller(limit, &error);
                    let text = crate::sentence(&error);
                    // Each reason once, however long it lasts.
                    if text != told {
                        tracing::warn!("{text}; the records are kept, and shipped later");
                    }
                    told = text;
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn ship(&mut self, limit: BatchLimit) -> Result<(), ShipError> {
        let batch = self.read(limit).await?;
        if batch.records == 0 {
            return Ok(());
        }
        let before = self.progress.shipped();
        let lines = Ask::lines(paths::TRIAL_RECORDS, batch.lines.into(), Some(batch.first - before.lost));
        match self.hub.message(lines).await {
            Ok(Acknowledged { sequence }) => {
                // A hub that knows more records than were sent has them from before.
                let sequence = sequence.saturating_add(before.lost).min(*self.spool.written().borrow());
                self.stand_at(Shipped { sequence: sequence.max(before.sequence), ..before })
            }
            Err(refusal @ HubError::Refused { status: StatusCode::CONFLICT, .. }) => self.realign(batch.first, refusal).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on from where the hub is that refused the batch which begins with `first`: it may have lost what it had acknowledged. What is in the
    /// journal still is sent again; what was dropped from it is lost, and the rest is sent without.
    async fn realign(&mut self, first: u64, refusal: HubError) -> Result<(), ShipError> {
        // A batch of nothing leaves nothing out, and is answered with what is there.
        let nothing = Ask::lines(paths::TRIAL_RECORDS, Bytes::new(), Some(1));
        let Acknowledged { sequence: there } = self.hub.message(nothing).await?;
        let before = self.progress.shipped();
        let reached = there.saturating_add(before.lost);
        if reached < before.sequence {
            tracing::warn!(had = before.sequence, has = reached, "the hub has lost records: they are shipped again");
            self.spool.withdraw(reached);
            self.stand_at(Shipped { sequence: reached, ..before })
        } else if reached + 1 < first {
            tracing::error!(from = reached + 1, to = first - 1, "the hub has lost records, and they were dropped here: they are missing");
            self.stand_at(Shipped { sequence: first - 1, lost: first - 1 - there })
        } else {
            Err(refusal.into())
        }
    }

    fn stand_at(&mut self, shipped: Shipped) -> Result<(), ShipError> {
        let failed = |source| ShipError::Progress { path: self.journal.clone(), source };
        self.progress.set(shipped).map_err(failed)?;
        self.spool.acknowledge(shipped.sequence);
        self.tell.send_replace(shipped);
        Ok(())
    }

    /// Reads on a thread where waiting for the disk holds nobody up.
    async fn read(&self, limit: BatchLimit) -> Result<Batch, JournalError> {
        let (outbox, journal, sequence) = (self.outbox.clone(), self.journal.clone(), self.progress.shipped().sequence);
        let reading = tokio::task::spawn_blocking(move || {
            let mut outbox = outbox.lock().unwrap_or_else(PoisonError::into_inner);
            let open = match outbox.take() {
                Some(open) => open,
                None => Outbox::open(&journal)?,
            };
            let batch = open.after(sequence, limit);
            *outbox = Some(open);
            batch
        });
        match reading.await {
            Ok(batch) => batch,
            Err(ended) => Err(JournalError::Record { path: self.journal.clone(), reason: ended.to_string() }),
        }
    }
}

/// A batch that the hub will not take whole is sent in parts: fewer records, in the end one, in the very end one without its bodies.
fn smaller(limit: BatchLimit, error: &ShipError) -> BatchLimit {
    let refused = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    match error {
        ShipError::Hub(HubError::Refused { status, .. }) if refused.contains(status) => {
            BatchLimit { records: (limit.records / 8).max(1), bytes: limit.bytes / 8, without_bodies: limit.records == 1 }
        }
        _ => limit,
    }
}
