//! Work that is written in batches by a thread of its own, so that nobody on a call's way waits for a disk.

use std::{
    panic::{self, AssertUnwindSafe},
    slice,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

/// Bodies are read here too, and theirs may nest as deep as on any other thread; what is not used is never had.
const STACK: usize = 2 << 20;

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
    /// Of the items, those that are being written included.
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
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || worker.work(sink))?;
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

/// Writes `batch`. Should an item make the sink panic, the others are written without it: one odd record must not end the journal. Where that
/// fails, what is left in `batch` is to be written.
fn write<S: Sink>(sink: &mut S, batch: &mut Vec<S::Item>) -> Result<(), String> {
    let mut guarded = |items: &[S::Item]| panic::catch_unwind(AssertUnwindSafe(|| sink.write(items)));
    if let Ok(written) = guarded(batch) {
        return written;
    }
    let failed = batch.iter().enumerate().find_map(|(index, item)| match guarded(slice::from_ref(item)) {
        Ok(written) => written.err().map(|failure| (index, failure)),
        Err(_) => {
            tracing::error!("an item that cannot be written is left out");
            None
        }
    });
    let Some((index, failure)) = failed else { return Ok(()) };
    batch.drain(..index);
    Err(failure)
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
            let mut batch = std::mem::take(&mut state.items);
            let bytes = state.bytes;
            let flushes = std::mem::take(&mut state.flushes);
            let closed = state.closed;
            drop(state);
            match write(&mut sink, &mut batch) {
                Ok(()) => {
                    drop(batch);
                    let mut state = self.lock();
                    state.bytes -= bytes;
                    state.failure = None;
                    drop(state);
                    self.room.notify_waiters();
                    for done in flushes {
                        // Whoever asked may have stopped waiting.
                        done.send(Ok(())).ok();
                    }
                }
                Err(failure) if closed => {
                    tracing::error!(lost = batch.len(), %failure, "could not write before the end");
                    return;
                }
                Err(failure) => self.put_back(batch, flushes, failure),
            }
            if closed && self.lock().items.is_empty() {
                return;
            }
        }
    }

    fn put_back(&self, mut batch: Vec<T>, flushes: Vec<Waiting>, failure: String) {
        let mut state = self.lock();
        if state.failure.is_none() {
            tracing::error!(%failure, waiting = batch.len(), "cannot write; will try again");
        }
        batch.append(&mut state.items);
        state.items = batch;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes into what is shared; the write that it counts down to fails, and one of 13 panics.
    struct Odd(Arc<Mutex<Vec<u32>>>, Arc<Mutex<u32>>);

    impl Sink for Odd {
        type Item = u32;

        fn write(&mut self, batch: &[u32]) -> Result<(), String> {
            assert!(!batch.contains(&13), "13 panics");
            let mut fails_in = self.1.lock().unwrap();
            if *fails_in > 0 {
                *fails_in -= 1;
                if *fails_in == 0 {
                    return Err("the disk is full".to_owned());
                }
            }
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn odd(limit: usize, fails_in: u32) -> (Batcher<u32>, Arc<Mutex<Vec<u32>>>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Odd(written.clone(), Arc::new(Mutex::new(fails_in)));
        (Batcher::start("odd", limit, sink).unwrap(), written)
    }

    #[tokio::test]
    async fn an_item_that_panics_takes_no_other_with_it() {
        let (batcher, written) = odd(100, 0);
        for item in [1, 13, 2] {
            batcher.push(item, 1);
        }
        batcher.flush().await.unwrap();
        assert_eq!(*written.lock().unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn what_was_written_without_an_item_that_panics_is_written_once() {
        let (batcher, written) = odd(100, 2);
        for item in [1, 13, 2] {
            batcher.push(item, 1);
        }
        // The first is written, and the last is not at once.
        while batcher.flush().await.is_err() {}
        assert_eq!(*written.lock().unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_said_and_tried_again_in_order() {
        let (batcher, written) = odd(1, 1);
        batcher.push(1, 10);
        assert_eq!(batcher.flush().await.unwrap_err(), "the disk is full");
        batcher.push(2, 10);
        batcher.flush().await.unwrap();
        assert_eq!(*written.lock().unwrap(), [1, 2]);
        assert_eq!(batcher.failure(), None);
        batcher.room().await.unwrap();
    }

    /// Says that it writes, and waits until it may.
    struct Slow(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

    impl Sink for Slow {
        type Item = u32;

        fn write(&mut self, _: &[u32]) -> Result<(), String> {
            self.0.send(()).unwrap();
            self.1.recv().map_err(|error| error.to_string())
        }
    }

    #[tokio::test]
    async fn what_is_being_written_takes_room_until_it_is() {
        let ((says, said), (may, allowed)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let batcher = Batcher::start("slow", 15, Slow(says, allowed)).unwrap();
        batcher.push(1, 10);
        said.recv().unwrap();
        batcher.push(2, 10);
        assert!(tokio::time::timeout(Duration::ZERO, batcher.room()).await.is_err(), "20 bytes of 15");
        may.send(()).unwrap();
        batcher.room().await.unwrap();
        may.send(()).unwrap();
    }

    #[test]
    fn the_end_writes_what_waits() {
        let (batcher, written) = odd(100, 0);
        batcher.push(1, 1);
        drop(batcher);
        assert_eq!(*written.lock().unwrap(), [1]);
    }
}
