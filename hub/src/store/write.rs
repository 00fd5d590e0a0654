//! What changes the store.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Begun, Store, StoreError, read};
use crate::{Owner, Phase, RunRecord, RunStart, Spending, TrialId, TrialRecord, TrialState};

impl Store {
    /// Takes a run for `owner`: goes on with an unfinished generation of the same fingerprint, says that it is complete, or starts the next
    /// generation. A run whose owner is no longer `alive` is taken over at once; its running and lost trials become pending.
    ///
    /// # Errors
    /// [`StoreError::Leased`] where a living process other than `owner` has the run.
    pub fn begin(&self, start: &RunStart, owner: &Owner, now: Timestamp, alive: impl Fn(&Owner) -> bool) -> Result<Begun, StoreError> {
        let mut connection = self.connection();
        let transaction = immediate(&mut connection).map_err(self.failed())?;
        let latest = read::latest(&transaction, &start.name).map_err(self.failed())?;
        if let Some(other) = latest.as_ref().and_then(|run| run.owner.as_ref())
            && other != owner
            && alive(other)
        {
            return Err(StoreError::Leased { name: start.name.clone(), pid: other.pid });
        }
        let begun = match latest {
            Some(run) if run.fingerprint == start.fingerprint && !start.again => {
                if run.phase == Phase::Complete {
                    return Ok(Begun::Finished(run));
                }
                Begun::Resumed(resume(&transaction, run, owner).map_err(self.failed())?)
            }
            latest => {
                let generation = latest.map_or(1, |run| run.generation + 1);
                Begun::New(create(&transaction, start, generation, owner, now).map_err(self.failed())?)
            }
        };
        transaction.commit().map_err(self.failed())?;
        Ok(begun)
    }

    /// Counts a new attempt of a trial. Returns its number, from 1.
    ///
    /// # Errors
    /// [`StoreError::Finished`] where the trial has a result, [`StoreError::Lost`] where the run belongs to another process.
    pub fn start(&self, run: &RunRecord, owner: &Owner, trial: &TrialId, now: Timestamp) -> Result<u32, StoreError> {
        let mut connection = self.connection();
        let transaction = immediate(&mut connection).map_err(self.failed())?;
        self.owned(&transaction, run, owner)?;
        self.unfinished(&transaction, run, trial)?;
        let attempt = transaction
            .query_row(
                "INSERT INTO trial (run, combo, data_id, sample, attempt, state, started) VALUES (?1, ?2, ?3, ?4, 1, 'Running', ?5)
                 ON CONFLICT DO UPDATE SET attempt = attempt + 1, state = 'Running', started = ?5 RETURNING attempt",
                params![run.id, trial.combo, trial.data_id, trial.sample, now.to_string()],
                |row| row.get(0),
            )
            .map_err(self.failed())?;
        transaction.commit().map_err(self.failed())?;
        Ok(attempt)
    }

    /// Stores what a trial came to; durable through the death of this process when it returns.
    ///
    /// # Errors
    /// [`StoreError::Finished`] where it had a result already, [`StoreError::Lost`] where the run belongs to another process.
    pub fn finish(&self, run: &RunRecord, owner: &Owner, trial: &TrialRecord) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = immediate(&mut connection).map_err(self.failed())?;
        self.owned(&transaction, run, owner)?;
        self.unfinished(&transaction, run, &trial.id)?;
        let time = |at: &Option<Timestamp>| at.map(|at| at.to_string());
        let spending = &trial.spending;
        transaction
            .execute(
                "INSERT OR REPLACE INTO trial (run, combo, data_id, sample, attempt, state, reason, message, score, score_reason,
                 latency_seconds, calls, cached, failed, unreadable, unpriced, usd, spent, saved, output, started, finished)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
                params![
                    run.id,
                    trial.id.combo,
                    trial.id.data_id,
                    trial.id.sample,
                    trial.attempt,
                    trial.state.as_str(),
                    trial.reason,
                    trial.message,
                    trial.score,
                    trial.score_reason,
                    trial.latency_seconds,
                    stored(spending.calls),
                    stored(spending.cached),
                    stored(spending.failed),
                    stored(spending.unreadable),
                    stored(spending.unpriced),
                    spending.usd.map(|usd| usd.to_string()),
                    spending.spent.to_string(),
                    spending.saved.to_string(),
                    trial.output,
                    time(&trial.started),
                    time(&trial.finished),
                ],
            )
            .map_err(self.failed())?;
        transaction.commit().map_err(self.failed())
    }

    /// Gives the run back in the phase it has reached, with what its calls came to if that is known. A run that another process has taken over
    /// is left alone.
    pub fn release(
        &self,
        run: &RunRecord,
        owner: &Owner,
        phase: Phase,
        spending: Option<&Spending>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let finished = matches!(phase, Phase::Complete | Phase::Failed).then(|| now.to_string());
        let mut connection = self.connection();
        let transaction = immediate(&mut connection).map_err(self.failed())?;
        let changed = transaction
            .execute(
                "UPDATE run SET phase = ?3, finished = ?4, owner_pid = NULL, owner_started = NULL,
                 calls = ?6, cached = ?7, failed = ?8, unreadable = ?9, unpriced = ?10, spent = ?11, saved = ?12
                 WHERE id = ?1 AND owner_pid = ?2 AND owner_started = ?5",
                params![
                    run.id,
                    owner.pid,
                    phase.as_str(),
                    finished,
                    owner.started,
                    spending.map(|spending| stored(spending.calls)),
                    spending.map(|spending| stored(spending.cached)),
                    spending.map(|spending| stored(spending.failed)),
                    spending.map(|spending| stored(spending.unreadable)),
                    spending.map(|spending| stored(spending.unpriced)),
                    spending.map(|spending| spending.spent.to_string()),
                    spending.map(|spending| spending.saved.to_string()),
                ],
            )
            .map_err(self.failed())?;
        if changed == 1 {
            set_pending(&transaction, run.id, &[TrialState::Running]).map_err(self.failed())?;
        }
        transaction.commit().map_err(self.failed())
    }

    fn owned(&self, transaction: &Transaction<'_>, run: &RunRecord, owner: &Owner) -> Result<(), StoreError> {
        let found = transaction
            .query_row(
                "SELECT 1 FROM run WHERE id = ?1 AND owner_pid = ?2 AND owner_started = ?3",
                params![run.id, owner.pid, owner.started],
                |_| Ok(()),
            )
            .optional()
            .map_err(self.failed())?;
        found.ok_or_else(|| StoreError::Lost { name: run.name.clone() })
    }

    fn unfinished(&self, transaction: &Transaction<'_>, run: &RunRecord, trial: &TrialId) -> Result<(), StoreError> {
        let state: Option<String> = transaction
            .query_row(
                "SELECT state FROM trial WHERE run = ?1 AND combo = ?2 AND data_id = ?3 AND sample = ?4",
                params![run.id, trial.combo, trial.data_id, trial.sample],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.failed())?;
        match state.as_deref() {
            None | Some("Pending" | "Running") => Ok(()),
            Some(_) => Err(StoreError::Finished { combo: trial.combo.clone(), data_id: trial.data_id.clone(), sample: trial.sample }),
        }
    }
}

/// SQLite's integers are signed.
fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// IMMEDIATE: what is read inside is still true when it is written.
fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn resume(transaction: &Transaction<'_>, run: RunRecord, owner: &Owner) -> rusqlite::Result<RunRecord> {
    transaction.execute(
        "UPDATE run SET phase = 'Running', finished = NULL, calls = NULL, owner_pid = ?2, owner_started = ?3 WHERE id = ?1",
        params![run.id, owner.pid, owner.started],
    )?;
    set_pending(transaction, run.id, &[TrialState::Running, TrialState::Lost])?;
    Ok(RunRecord { phase: Phase::Running, finished: None, owner: Some(owner.clone()), spending: None, ..run })
}

fn create(transaction: &Transaction<'_>, start: &RunStart, generation: u32, owner: &Owner, now: Timestamp) -> rusqlite::Result<RunRecord> {
    transaction.execute(
        "INSERT INTO run (name, generation, fingerprint, manifest, datapoints, trials, phase, started, owner_pid, owner_started)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'Running', ?7, ?8, ?9)",
        params![
            start.name,
            generation,
            start.fingerprint,
            start.manifest,
            start.datapoints,
            stored(start.trials),
            now.to_string(),
            owner.pid,
            owner.started
        ],
    )?;
    Ok(RunRecord {
        id: transaction.last_insert_rowid(),
        name: start.name.clone(),
        generation,
        fingerprint: start.fingerprint.clone(),
        manifest: start.manifest.clone(),
        datapoints: start.datapoints.clone(),
        trials: start.trials,
        phase: Phase::Running,
        started: now,
        finished: None,
        owner: Some(owner.clone()),
        spending: None,
    })
}

fn set_pending(transaction: &Transaction<'_>, run: i64, states: &[TrialState]) -> rusqlite::Result<()> {
    for state in states {
        transaction.execute(
            "UPDATE trial SET state = 'Pending', reason = NULL, message = NULL, finished = NULL WHERE run = ?1 AND state = ?2",
            params![run, state.as_str()],
        )?;
    }
    Ok(())
}
