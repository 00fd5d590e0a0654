//! Records on their way from the journal to the hub: batch by batch, each acknowledged before the next is sent. Nobody waits for it but the
//! pod's end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agentrun_protocol::{paths, trial::Acknowledged};
use http::StatusCode;
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    hub::{Ask, Backoff, Hub, HubError},
    journal::{Batch, BatchLimit, JournalError, Outbox, Spool},
    ship::progress::Progress,
};

mod progress;

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
    acknowledged: watch::Receiver<u64>,
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
        let begins_anew = progress.sequence() > *written.borrow();
        if begins_anew {
            tracing::error!(shipped = progress.sequence(), "the journal is not the one that was shipped from: records of it are missing");
        }
        let (acknowledge, acknowledged) = watch::channel(progress.sequence());
        let shipper = Shipper { hub, journal: journal.to_owned(), spool, progress, acknowledge, outbox: Arc::default() };
        let shipping = tokio::spawn(shipper.run(written.clone(), room));
        Self { acknowledged, written, begins_anew, shipping }
    }

    /// Waits until the hub has every record that is on disk, however long that takes, and gives the last one's number. One more where records
    /// were lost, so that the hub knows.
    pub(crate) async fn all(&self) -> u64 {
        let last = *self.written.borrow();
        let mut acknowledged = self.acknowledged.clone();
        // The shipper ends with this only.
        acknowledged.wait_for(|sequence| *sequence >= last).await.ok();
        if self.begins_anew { last.max(*acknowledged.borrow()) + 1 } else { last }
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
    acknowledge: watch::Sender<u64>,
    outbox: Arc<Mutex<Option<Outbox>>>,
}

impl Shipper {
    async fn run(mut self, mut written: watch::Receiver<u64>, room: impl Fn() + Send + 'static) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut limit = BATCH;
        let mut told = String::new();
        self.spool.acknowledge(self.progress.sequence());
        while written.wait_for(|last| *last > self.progress.sequence()).await.is_ok() {
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
        let lines = Ask::lines(paths::TRIAL_RECORDS, batch.lines.into(), Some(batch.first));
        let Acknowledged { sequence } = self.hub.message(lines).await?;
        // A hub that knows more records than were sent has them from before.
        let sequence = sequence.min(*self.spool.written().borrow());
        let failed = |source| ShipError::Progress { path: self.journal.clone(), source };
        self.progress.set(sequence).map_err(failed)?;
        self.spool.acknowledge(sequence);
        self.acknowledge.send_replace(sequence);
        Ok(())
    }

    /// Reads on a thread where waiting for the disk holds nobody up.
    async fn read(&self, limit: BatchLimit) -> Result<Batch, JournalError> {
        let (outbox, journal, sequence) = (self.outbox.clone(), self.journal.clone(), self.progress.sequence());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_refused_shrinks_to_one_record_without_bodies() {
        let refused = |status: u16| ShipError::Hub(HubError::Refused { status: status.try_into().unwrap(), problem: String::new() });
        let mut limit = BATCH;
        let mut seen = Vec::new();
        for _ in 0..5 {
            limit = smaller(limit, &refused(413));
            seen.push((limit.records, limit.without_bodies));
        }
        assert_eq!(seen, [(64, false), (8, false), (1, false), (1, true), (1, true)]);
        let same = smaller(BATCH, &refused(503));
        assert_eq!((same.records, same.without_bodies), (BATCH.records, false));
    }
}
