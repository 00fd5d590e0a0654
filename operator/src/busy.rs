//! What a future costs: its thread's CPU time while it is polled. What it waits for is left out, and so is the time in which the machine is others'.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Gives a future's output, and the CPU time that it took.
#[derive(Debug)]
pub struct Busy<F> {
    future: Pin<Box<F>>,
    spent: Duration,
}

impl<F: Future> Busy<F> {
    /// Nothing is computed yet.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), spent: Duration::ZERO }
    }
}

impl<F: Future> Future for Busy<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = thread_time();
        let polled = self.future.as_mut().poll(context);
        // A poll stays on its thread.
        self.spent += thread_time().saturating_sub(before);
        polled.map(|output| (output, self.spent))
    }
}

/// The CPU time that this thread has taken.
fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_counts_and_waits_do_not() {
        let (work, wait) = (Duration::from_millis(20), Duration::from_millis(50));
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut busy = Busy::new(async {
            let begun = thread_time();
            while thread_time() < begun + work {
                std::hint::spin_loop();
            }
            std::thread::sleep(wait);
            told.await
        });
        let begun = Instant::now();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut busy).poll(&mut context).is_pending());
        std::thread::sleep(wait);
        tell.send(7).unwrap();
        let Poll::Ready((output, spent)) = Pin::new(&mut busy).poll(&mut context) else { panic!("it was told") };
        assert_eq!(output, Ok(7));
        assert!(spent >= work && spent + wait * 2 <= begun.elapsed(), "{spent:?}");
    }
}
