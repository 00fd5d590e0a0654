//! How long a future computed: what it waited for is left out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Gives a future's output, and how long it computed.
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
        let begun = Instant::now();
        let polled = self.future.as_mut().poll(context);
        self.spent += begun.elapsed();
        polled.map(|output| (output, self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_waits_do_not() {
        let (worked, waited) = (Duration::from_millis(20), Duration::from_millis(50));
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut busy = Busy::new(async {
            std::thread::sleep(worked);
            told.await
        });
        let begun = Instant::now();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut busy).poll(&mut context).is_pending());
        std::thread::sleep(waited);
        tell.send(7).unwrap();
        let Poll::Ready((output, spent)) = Pin::new(&mut busy).poll(&mut context) else { panic!("it was told") };
        assert_eq!(output, Ok(7));
        assert!(spent >= worked && spent + waited <= begun.elapsed(), "{spent:?}");
    }
}
