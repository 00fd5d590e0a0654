//! The one writer: decisions of many callers are committed together, in the order they were made.
//!
//! A decision is made on state in memory that may be ahead of what is stored. So when a commit fails, everything that was decided after it
//! is refused, and the epoch changes: state of an earlier epoch is of no use and must be read again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    backend::Backend,
    change::{Changes, Table},
    error::ArchiveError,
};

/// The most bytes that are committed together.
const GROUP_BYTES: usize = 8 << 20;
/// The most bytes that wait to be written; who has more waits with it.
const WAITING_BYTES: usize = 64 << 20;
/// How long writes are refused at once after one failed.
const REFUSED: Duration = Duration::from_secs(1);
/// The same after one found no room: somebody has to make some first, and after each that fails all runs are read again.
const REFUSED_FULL: Duration = Duration::from_secs(10);
/// How long the store counts as full after a write found no room: whoever waits for room tries again sooner.
const FULL: Duration = Duration::from_secs(30);

/// A decision on its way to the disk.
pub(crate) type Committed = oneshot::Receiver<Result<(), ArchiveError>>;

enum Job {
    Write {
        epoch: u64,
        changes: Changes,
        done: oneshot::Sender<Result<(), ArchiveError>>,
        room: OwnedSemaphorePermit,
    },
    /// Removes so many rows of a run, and tells how many there were. When there were none, its documents in these tables go too.
    Purge {
        run: i64,
        most: usize,
        forget: Vec<Table>,
        done: oneshot::Sender<Result<usize, ArchiveError>>,
    },
    /// Removes some of the oldest answers, until so many bytes are freed, and tells how many are.
    Trim {
        bytes: u64,
        done: oneshot::Sender<Result<u64, ArchiveError>>,
    },
}

#[derive(Debug, Default)]
struct Health {
    epoch: u64,
    /// Why the last commit failed, and when.
    problem: Option<(ArchiveError, Instant)>,
    /// The last write that found no room. Smaller ones may have found some since.
    full: Option<(ArchiveError, Instant)>,
}

/// Room in the queue, to be held before the state is locked.
pub(crate) struct Room(OwnedSemaphorePermit);

/// The queue to the writer.
pub(crate) struct Committer {
    queue: mpsc::UnboundedSender<Job>,
    health: Arc<Mutex<Health>>,
    room: Arc<Semaphore>,
}

impl Committer {
    /// Starts the writer. It ends when this is dropped and the queue is empty.
    pub(crate) fn start(backend: Backend) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let health = Arc::new(Mutex::default());
        tokio::spawn(Writer { backend, health: health.clone() }.run(jobs));
        Self { queue, health, room: Arc::new(Semaphore::new(WAITING_BYTES)) }
    }

    /// The epoch that state must be of.
    pub(crate) fn epoch(&self) -> u64 {
        lock(&self.health).epoch
    }

    /// Whether writes may be taken now.
    ///
    /// # Errors
    /// The last commit failed, and that is not long ago.
    pub(crate) fn writable(&self) -> Result<(), ArchiveError> {
        let health = lock(&self.health);
        let Some((problem, at)) = &health.problem else { return Ok(()) };
        let refused = match problem {
            ArchiveError::Fenced => Duration::MAX,
            ArchiveError::Full(_) => REFUSED_FULL,
            _ => REFUSED,
        };
        if at.elapsed() < refused { Err(problem.clone()) } else { Ok(()) }
    }

    /// Whether there is room for whatever waits to be written.
    ///
    /// # Errors
    /// A write found none, and that is not long ago.
    pub(crate) fn has_room(&self) -> Result<(), ArchiveError> {
        match &lock(&self.health).full {
            Some((problem, at)) if at.elapsed() < FULL => Err(problem.clone()),
            _ => Ok(()),
        }
    }

    /// Waits until about so many bytes more may wait to be written.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, ArchiveError> {
        self.writable()?;
        self.turn(bytes).await
    }

    /// As [`Committer::room`], also of a store that is full: for what removes something.
    pub(crate) async fn turn(&self, bytes: usize) -> Result<Room, ArchiveError> {
        let bytes = u32::try_from(bytes.clamp(1, WAITING_BYTES)).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(bytes).await;
        permit.map(Room).map_err(|_| stopped())
    }

    /// Queues a decision. To be called while the state that it was made on is locked, so that the order of decisions is that of commits.
    /// One without rows is done when all before it are.
    ///
    /// # Errors
    /// The state is of an earlier epoch.
    pub(crate) fn push(&self, epoch: u64, changes: Changes, room: Room) -> Result<Committed, ArchiveError> {
        let health = lock(&self.health);
        if health.epoch != epoch {
            return Err(health.problem.as_ref().map_or_else(stopped, |(problem, _)| problem.clone()));
        }
        let (done, committed) = oneshot::channel();
        self.queue.send(Job::Write { epoch, changes, done, room: room.0 }).map_err(|_| stopped())?;
        Ok(committed)
    }

    /// Removes at most so many rows of a run; gives how many there were. When there were none, its documents in these tables go too.
    pub(crate) async fn purge(&self, run: i64, most: usize, forget: Vec<Table>) -> Result<usize, ArchiveError> {
        let (done, answer) = oneshot::channel();
        self.queue.send(Job::Purge { run, most, forget, done }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Removes the oldest answers, some hundred at most, until so many bytes are freed; gives how many are.
    pub(crate) async fn trim(&self, bytes: u64) -> Result<u64, ArchiveError> {
        let (done, answer) = oneshot::channel();
        self.queue.send(Job::Trim { bytes, done }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Waits until a decision is durable.
pub(crate) async fn durable(committed: Committed) -> Result<(), ArchiveError> {
    committed.await.map_err(|_| stopped())?
}

fn stopped() -> ArchiveError {
    ArchiveError::Unavailable("it is being closed".to_owned())
}

fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    backend: Backend,
    health: Arc<Mutex<Health>>,
}

impl Writer {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut next = jobs.recv().await;
        while let Some(job) = next.take() {
            match job {
                Job::Write { .. } => next = self.group(job, &mut jobs).await,
                // Whoever asked may have gone; what was asked for is done.
                Job::Purge { run, most, forget, done } => drop(done.send(self.purge(run, most, forget).await)),
                Job::Trim { bytes, done } => drop(done.send(self.backend.trim(bytes).await)),
            }
            if next.is_none() {
                next = jobs.recv().await;
            }
        }
    }

    async fn purge(&self, run: i64, most: usize, forget: Vec<Table>) -> Result<usize, ArchiveError> {
        let removed = self.backend.purge(run, most).await?;
        if removed == 0 {
            self.backend.forget(run, forget).await?;
            // Room was made: whoever waits for it tries again.
            let mut health = lock(&self.health);
            health.full = None;
            health.problem.take_if(|(problem, _)| matches!(problem, ArchiveError::Full(_)));
        }
        Ok(removed)
    }

    /// Commits a decision and those that wait behind it; gives the job that ended the group, if any.
    async fn group(&self, first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Option<Job> {
        let epoch = lock(&self.health).epoch;
        let (mut group, mut waiting, mut bytes) = (Changes::default(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Write { epoch: made, done, .. } if made != epoch => drop(done.send(Err(self.problem()))),
                Job::Write { changes, done, room, .. } => {
                    bytes += changes.bytes();
                    group.extend(changes);
                    waiting.push((done, room));
                }
                other => {
                    next = Some(other);
                    break;
                }
            }
            if bytes < GROUP_BYTES {
                next = jobs.try_recv().ok();
            }
        }
        let of_answers = group.holds_answers_alone();
        let result = if group.is_empty() { Ok(()) } else { self.backend.write(group).await };
        if let Err(problem) = &result {
            self.failed(problem, of_answers);
        } else if bytes > 0 {
            lock(&self.health).problem = None;
        }
        waiting.into_iter().for_each(|(done, _)| drop(done.send(result.clone())));
        next
    }

    fn failed(&self, problem: &ArchiveError, of_answers: bool) {
        tracing::error!(%problem, "cannot write to the store");
        let mut health = lock(&self.health);
        let failed = (problem.clone(), Instant::now());
        if matches!(problem, ArchiveError::Full(_)) {
            health.full = Some(failed.clone());
            if of_answers {
                // No state in memory is ahead of what is stored, and records, which are smaller, may find room.
                return;
            }
        }
        (health.epoch, health.problem) = (health.epoch + 1, Some(failed));
    }

    fn problem(&self) -> ArchiveError {
        lock(&self.health).problem.as_ref().map_or_else(stopped, |(problem, _)| problem.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{
        change::{AnswerRow, rows_of},
        types::{Location, Settings},
    };

    /// A store with room for a MiB.
    async fn small(folder: &tempfile::TempDir) -> Committer {
        let settings = Settings { file_bytes: 1 << 20, ..Settings::new(Location::Sqlite(folder.path().join("hub.db"))) };
        Committer::start(Backend::open(&settings).await.unwrap())
    }

    async fn write(committer: &Committer, changes: Changes) -> Result<(), ArchiveError> {
        let room = committer.room(changes.bytes()).await?;
        durable(committer.push(committer.epoch(), changes, room)?).await
    }

    fn output(run: i64, bytes: usize) -> Changes {
        Changes { outputs: [(rows_of(run).0, vec![1; bytes].into())].into(), ..Changes::default() }
    }

    fn answer(bytes: usize) -> Changes {
        let row = AnswerRow { id: 1, key: [1; 32], run: 0, value: vec![1; bytes].into() };
        Changes { answers: [(row.key, row)].into(), ..Changes::default() }
    }

    #[tokio::test]
    async fn an_answer_that_finds_no_room_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let committer = small(&folder).await;
        let epoch = committer.epoch();
        assert!(matches!(write(&committer, answer(2 << 20)).await, Err(ArchiveError::Full(_))));
        assert_eq!((committer.epoch(), committer.writable()), (epoch, Ok(())));
        assert!(matches!(committer.has_room(), Err(ArchiveError::Full(_))));
        write(&committer, output(1, 1000)).await.unwrap();
        let mut both = answer(2 << 20);
        both.extend(output(1, 1000));
        assert!(matches!(write(&committer, both).await, Err(ArchiveError::Full(_))));
        assert_eq!(committer.epoch(), epoch + 1);
    }

    #[tokio::test]
    async fn a_full_store_is_tried_again_when_its_callers_were_told_to_or_room_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let committer = small(&folder).await;
        write(&committer, output(1, 500_000)).await.unwrap();
        let full = async || assert!(matches!(write(&committer, output(2, 800_000)).await, Err(ArchiveError::Full(_))));
        full().await;
        let ago = |seconds| lock(&committer.health).problem.as_mut().unwrap().1 = Instant::now() - Duration::from_secs(seconds);
        ago(5);
        assert!(matches!(committer.writable(), Err(ArchiveError::Full(_))), "they were told to come again after ten seconds");
        ago(10);
        assert_eq!(committer.writable(), Ok(()));
        full().await;
        while committer.purge(1, 1, Vec::new()).await.unwrap() > 0 {}
        assert_eq!((committer.writable(), committer.has_room()), (Ok(()), Ok(())));
        write(&committer, output(2, 800_000)).await.unwrap();
    }
}
