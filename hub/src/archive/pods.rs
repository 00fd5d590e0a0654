//! What pods ask and send.

use std::sync::Arc;

use agentrun_protocol::trial::{Acknowledged, End};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    Archive, Result,
    change::{Changes, run_of},
    directory::Directory,
    error::ArchiveError,
    lines,
    run::RunState,
    shelf::Open,
    types::{AttemptId, BATCH_BYTES, Claimed, Claims, OUTPUT_BYTES, Place, Pod, RunId},
};

/// Batches from this size on are taken apart on a thread where that holds nobody up.
const INLINE_BYTES: usize = 64 << 10;

impl Archive {
    /// Gives a pod of the operator's Jobs its trial. The same pod is given the same attempt again; another pod the next one.
    ///
    /// # Errors
    /// No such run, or no such trial in it.
    pub async fn claim(&self, namespace: &str, uid: &str, place: Place, pod: Pod, now: Timestamp) -> Result<Claimed> {
        let look = |directory: &Directory| {
            let (id, _) = directory.of_uid(namespace, uid).ok_or_else(|| ArchiveError::NoRun(format!("{uid} of namespace {namespace}")))?;
            directory.live(id).map(|_| RunId(id))
        };
        let run = self.shelf().directory(look).await??;
        let open = self.shelf().open(run).await?;
        let shares = self.shares(namespace);
        self.shelf().commit(&open, 1024, |state| state.claim(place, pod, shares, now)).await
    }

    /// Notes a pod that others made under the newest run of this name, which is made where there is none. One that began before an AgentRun
    /// of this name was made stays where its records are.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn adopt(&self, namespace: &str, name: &str, claims: Claims, pod: Pod, now: Timestamp) -> Result<Claimed> {
        let run = self.run_of_pods(namespace, name, &pod.uid).await?;
        let open = self.shelf().open(run).await?;
        self.shelf().commit(&open, 1024, |state| Ok(state.adopt(claims, pod, now))).await
    }

    async fn run_of_attempt(&self, attempt: AttemptId) -> Result<Arc<Open>> {
        self.shelf().open(RunId(run_of(attempt.0))).await
    }

    /// Stores a batch of records, JSON lines whose first is record `first` of the attempt. Records that are stored already are skipped.
    /// What is acknowledged is durable.
    ///
    /// # Errors
    /// A gap, a line that is no record, more than [`BATCH_BYTES`], an ended attempt.
    pub async fn ingest(&self, attempt: AttemptId, first: u64, lines: Bytes) -> Result<Acknowledged> {
        if lines.len() > BATCH_BYTES {
            return Err(ArchiveError::TooLarge { what: "a batch of records", limit: BATCH_BYTES });
        }
        let open = self.run_of_attempt(attempt).await?;
        let bytes = lines.len() + 1024;
        let claims = open.lock().attempt(attempt)?.claims.clone();
        let records = if lines.len() < INLINE_BYTES {
            lines::parse(&lines, claims.as_ref())?
        } else {
            let parsed = tokio::task::spawn_blocking(move || lines::parse(&lines, claims.as_ref())).await;
            parsed.map_err(|error| ArchiveError::Unavailable(format!("reading a batch: {error}")))??
        };
        let decide = |state: &mut RunState| state.ingest(attempt, first, records, Timestamp::now());
        let sequence = self.shelf().commit(&open, bytes, decide).await?;
        Ok(Acknowledged { sequence })
    }

    /// Stores the agent's output so far. A later one replaces it until the attempt's end; after it, nothing changes.
    ///
    /// # Errors
    /// It is longer than [`OUTPUT_BYTES`].
    pub async fn put_output(&self, attempt: AttemptId, output: Bytes) -> Result<()> {
        if output.len() > OUTPUT_BYTES {
            return Err(ArchiveError::TooLarge { what: "the output", limit: OUTPUT_BYTES });
        }
        let open = self.run_of_attempt(attempt).await?;
        let bytes = output.len() + 1024;
        // A slice of the request's buffer would keep all of it in memory.
        let output = Bytes::copy_from_slice(&output);
        let decide = |state: &mut RunState| Ok(((), state.put_output(attempt, output, Timestamp::now())?));
        self.shelf().commit(&open, bytes, decide).await
    }

    /// Ends an attempt, and decides on its trial where that is possible now: scored by a built-in scorer, it is final when this returns.
    /// The same end again changes nothing.
    ///
    /// # Errors
    /// [`ArchiveError::NotYet`] while records or the output are missing.
    pub async fn end(&self, attempt: AttemptId, end: End) -> Result<()> {
        let open = self.run_of_attempt(attempt).await?;
        let decide = |state: &mut RunState| -> Result<(Option<u64>, Changes)> {
            let changes = state.end(attempt, end, Timestamp::now())?;
            let trial = state.attempt(attempt)?.trial.filter(|trial| state.to_score.contains_key(trial));
            Ok((trial, changes))
        };
        match self.shelf().commit(&open, 4096, decide).await? {
            Some(trial) => self.settle(&open, Some(trial)).await,
            None => Ok(()),
        }
    }
}
