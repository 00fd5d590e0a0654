//! Runs in memory: read when they are asked for, forgotten when a commit failed or nobody asks any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    backend::Backend,
    change::{Changes, Table, rows_of},
    committer::{Committer, durable},
    directory::{Directory, RunRow},
    error::ArchiveError,
    run::{Rows, RunState, read_document},
    types::RunId,
};

type Result<T> = std::result::Result<T, ArchiveError>;

/// A run in memory.
pub(crate) struct Open {
    epoch: u64,
    asked: Mutex<Instant>,
    state: Mutex<RunState>,
}

impl Open {
    fn new(epoch: u64, state: RunState) -> Arc<Self> {
        Arc::new(Self { epoch, asked: Mutex::new(Instant::now()), state: Mutex::new(state) })
    }

    /// The run's state. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Held {
    /// `None` until the directory was read.
    epoch: Option<u64>,
    directory: Directory,
    open: HashMap<i64, Arc<Open>>,
}

/// All runs.
pub(crate) struct Shelf {
    backend: Backend,
    committer: Committer,
    held: Mutex<Held>,
    /// One run is read at a time.
    reading: tokio::sync::Mutex<()>,
}

impl Shelf {
    pub(crate) fn new(backend: Backend, committer: Committer) -> Self {
        Self { backend, committer, held: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn committer(&self) -> &Committer {
        &self.committer
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up in the directory.
    pub(crate) async fn directory<T>(&self, look: impl FnOnce(&Directory) -> T) -> Result<T> {
        self.fresh().await?;
        Ok(look(&self.held().directory))
    }

    /// Reads the directory anew where a commit failed since it was read.
    async fn fresh(&self) -> Result<()> {
        if self.held().epoch == Some(self.committer.epoch()) {
            return Ok(());
        }
        let _one = self.reading.lock().await;
        let epoch = self.committer.epoch();
        if self.held().epoch == Some(epoch) {
            return Ok(());
        }
        self.backend.check_owner().await?;
        let mut directory = Directory::default();
        for (id, text) in self.backend.documents(Table::Runs, 0, i64::MAX).await? {
            directory.insert(id, read_document::<RunRow>("run", &text)?);
        }
        *self.held() = Held { epoch: Some(epoch), directory, open: HashMap::new() };
        Ok(())
    }

    /// A run in memory, read if it is not there.
    pub(crate) async fn open(&self, run: RunId) -> Result<Arc<Open>> {
        if let Some(open) = self.find_open(run).await? {
            return Ok(open);
        }
        let _one = self.reading.lock().await;
        if let Some(open) = self.find_held(run)? {
            return Ok(open);
        }
        let (epoch, row) = {
            let held = self.held();
            (held.epoch, held.directory.live(run.0)?.clone())
        };
        let (from, until) = rows_of(run.0);
        let (last_call, last_text) = self.backend.last(from, until).await?;
        let rows = Rows {
            registration: self.backend.documents(Table::Registrations, run.0, run.0 + 1).await?.pop().map(|(_, text)| text),
            attempts: self.backend.documents(Table::Attempts, from, until).await?,
            trials: self.backend.documents(Table::Trials, from, until).await?,
            last_call,
            last_text,
        };
        let load = move || RunState::load(run.0, row.names, rows, Timestamp::now());
        let loaded = tokio::task::spawn_blocking(load).await;
        let state = loaded.map_err(|error| ArchiveError::Broken(format!("reading a run: {error}")))??;
        let mut held = self.held();
        held.directory.live(run.0)?;
        if held.epoch != epoch || epoch != Some(self.committer.epoch()) {
            return Err(ArchiveError::Unavailable("a write failed while the run was read".to_owned()));
        }
        let open = Open::new(epoch.unwrap_or_default(), state);
        held.open.insert(run.0, open.clone());
        Ok(open)
    }

    async fn find_open(&self, run: RunId) -> Result<Option<Arc<Open>>> {
        self.fresh().await?;
        self.find_held(run)
    }

    fn find_held(&self, run: RunId) -> Result<Option<Arc<Open>>> {
        let held = self.held();
        held.directory.live(run.0)?;
        let open = held.open.get(&run.0).cloned();
        if let Some(open) = &open {
            *open.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Ok(open)
    }

    /// Forgets the runs that nobody holds and that nobody asked for in so long, which is longer than a decision takes to reach the disk.
    pub(crate) fn forget_idle(&self, idle: Duration) -> usize {
        let asked = |open: &Open| *open.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = |_: &i64, open: &mut Arc<Open>| Arc::strong_count(open) == 1 && asked(open).elapsed() >= idle;
        // Large ones take a while to be freed, and nobody waits for that.
        let forgotten: Vec<_> = self.held().open.extract_if(forgotten).collect();
        forgotten.len()
    }

    /// Makes a decision on a run, and waits until it is durable. `bytes` is about how much it writes.
    pub(crate) async fn commit<T>(
        &self,
        run: &Open,
        bytes: usize,
        decide: impl FnOnce(&mut RunState) -> Result<(T, Changes)>,
    ) -> Result<T> {
        let room = self.committer.room(bytes).await?;
        let (value, committed) = {
            let mut state = run.lock();
            if state.gone {
                return Err(ArchiveError::NoAttempt);
            }
            let (value, changes) = decide(&mut state)?;
            (value, self.committer.push(run.epoch, changes, room)?)
        };
        durable(committed).await?;
        Ok(value)
    }

    /// Makes a new run, unless `find` finds one in the directory.
    pub(crate) async fn create(
        &self,
        bytes: usize,
        find: impl FnOnce(&Directory) -> Result<Option<i64>>,
        make: impl FnOnce(i64) -> Result<(RunRow, RunState, Changes)>,
    ) -> Result<RunId> {
        self.fresh().await?;
        let room = self.committer.room(bytes).await?;
        let (id, committed) = {
            let mut held = self.held();
            if let Some(id) = find(&held.directory)? {
                return Ok(RunId(id));
            }
            let id = held.directory.next();
            let (row, state, mut changes) = make(id)?;
            changes.document(Table::Runs, id, &row);
            let epoch = held.epoch.unwrap_or_default();
            let committed = self.committer.push(epoch, changes, room)?;
            held.directory.insert(id, row);
            // Others find it here at once: in the store it may not be yet.
            held.open.insert(id, Open::new(epoch, state));
            (id, committed)
        };
        durable(committed).await?;
        Ok(RunId(id))
    }

    /// Puts another row in a run's place: nothing more is written for the run.
    pub(crate) async fn retire(&self, id: i64, row: RunRow) -> Result<()> {
        let room = self.committer.turn(1024).await?;
        let committed = {
            let mut held = self.held();
            let mut changes = Changes::default();
            changes.document(Table::Runs, id, &row);
            if let Some(open) = held.open.remove(&id) {
                open.lock().gone = true;
            }
            held.directory.insert(id, row);
            self.committer.push(held.epoch.unwrap_or_default(), changes, room)?
        };
        durable(committed).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{
        run::Names,
        types::{Location, Settings},
    };

    #[tokio::test]
    async fn only_runs_that_nobody_holds_or_asked_for_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::open(&Settings::new(Location::Sqlite(folder.path().join("hub.db")))).await.unwrap();
        let shelf = Shelf::new(backend.clone(), Committer::start(backend));
        let make = |id| Ok((RunRow::default(), RunState::new(id, Names::default(), Timestamp::now()), Changes::default()));
        let run = shelf.create(1, |_| Ok(None), make).await.unwrap();
        let open = shelf.open(run).await.unwrap();
        assert_eq!(shelf.forget_idle(Duration::ZERO), 0, "it is at work");
        drop(open);
        assert_eq!(shelf.forget_idle(Duration::from_secs(600)), 0, "it was asked for just now");
        assert_eq!(shelf.forget_idle(Duration::ZERO), 1);
        assert!(shelf.open(run).await.is_ok());
        assert_eq!(shelf.forget_idle(Duration::ZERO), 1);
    }
}
