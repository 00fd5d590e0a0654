//! Work that is written in batches by a thread of its own, so that nobody on a call's way waits for a disk.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

/// How long a batch gathers: a record is on disk well within 100 ms of its call's end.
const GATHER: Duration = Duration::from_millis(20);
/// How long a failed batch waits before it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Where batches go.
pub(crate) trait Sink: Send + 'static {
    type Item: Send + 'static;
    /// Writes all of `batch`, or nothing of it; what cannot be written now is tried again, so nothing is lost silently.
    fn write(&mut self, batch: &[Self::Item]) -> Result<(), String>;
}

/// A queue bounded by bytes before a [`Sink`].
pub(crate) struct Batcher<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    room: Notify,
    limit: usize,
}

/// Somebody who waits for a flush.
type Waiting = oneshot::Sender<Result<(), String>>;

struct State<T> {
    items: Vec<T>,
    bytes: usize,
    flushes: Vec<Waiting>,
    failure: Option<String>,
    closed: bool,
}

impl<T: Send + 'static> Batcher<T> {
    /// Starts the thread `name`. Past `limit` waiting bytes, [`Batcher::room`] waits.
    pub(crate) fn start(name: &str, limit: usize, sink: impl Sink<Item = T>) -> std::io::Result<Self> {
        let state = State { items: Vec::new(), bytes: 0, flushes: Vec::new(), failure: None, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), room: Notify::new(), limit });
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(move || worker.work(sink))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues `item`, which is `bytes` large. Never waits.
    pub(crate) fn push(&self, item: T, bytes: usize) {
        let mut state = self.shared.lock();
        if state.items.is_empty() {
            self.shared.wake.notify_one();
        }
        state.items.push(item);
        state.bytes += bytes;
    }

    /// Waits until the queue is below its limit: what slows new calls when the disk cannot follow. Fails when it cannot be written.
    pub(crate) async fn room(&self) -> Result<(), String> {
        loop {
            let notified = self.shared.room.notified();
            {
                let state = self.shared.lock();
                if state.bytes <= self.shared.limit {
                    return Ok(());
                }
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
            }
            notified.await;
        }
    }

    /// Why the last batch could not be written, while that is so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Waits until everything queued before is written, or could not be.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        // The thread drops the sender only when it ends, after it has written what it had.
        self.ask_to_flush().await.unwrap_or(Ok(()))
    }

    /// The same for a thread.
    pub(crate) fn flush_blocking(&self) -> Result<(), String> {
        self.ask_to_flush().blocking_recv().unwrap_or(Ok(()))
    }

    fn ask_to_flush(&self) -> oneshot::Receiver<Result<(), String>> {
        let (done, written) = oneshot::channel();
        self.shared.lock().flushes.push(done);
        self.shared.wake.notify_one();
        written
    }
}

impl<T> Drop for Batcher<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut sink: impl Sink<Item = T>) {
        loop {
            let mut state = self.lock();
            while state.items.is_empty() && state.flushes.is_empty() && !state.closed {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.flushes.is_empty() && !state.closed {
                drop(state);
                std::thread::sleep(GATHER);
                state = self.lock();
            }
            let batch = std::mem::take(&mut state.items);
            let bytes = std::mem::take(&mut state.bytes);
            let flushes = std::mem::take(&mut state.flushes);
            let closed = state.closed;
            drop(state);
            self.room.notify_waiters();
            match sink.write(&batch) {
                Ok(()) => {
                    self.lock().failure = None;
                    for done in flushes {
                        // Whoever asked may have stopped waiting.
                        done.send(Ok(())).ok();
                    }
                }
                Err(failure) if closed => {
                    tracing::error!(lost = batch.len(), %failure, "could not write before the end");
                    return;
                }
                Err(failure) => self.put_back(batch, bytes, flushes, failure),
            }
            if closed && self.lock().items.is_empty() {
                return;
            }
        }
    }

    fn put_back(&self, mut batch: Vec<T>, bytes: usize, flushes: Vec<Waiting>, failure: String) {
        let mut state = self.lock();
        if state.failure.is_none() {
            tracing::error!(%failure, waiting = batch.len(), "cannot write; will try again");
        }
        batch.append(&mut state.items);
        state.items = batch;
        state.bytes += bytes;
        for done in flushes {
            done.send(Err(failure.clone())).ok();
        }
        state.failure = Some(failure);
        self.room.notify_waiters();
        if !state.closed {
            let (guard, _) = self.wake.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner);
            drop(guard);
        }
    }
}
