//! Pauses between tries: each twice as long as the one before, and none as long as another pod's.

use std::time::Duration;

/// The pauses of one series of tries.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// The next pause: between half of its length and all of it, at random, so that pods that lost the hub together do not come back together.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        whole.mul_f64(0.5 + share() / 2.0)
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// From 0 to 1.
fn share() -> f64 {
    let [.., high, low] = *uuid::Uuid::now_v7().as_bytes();
    f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_longest_and_begin_anew() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(100), millis(450));
        for whole in [100, 200, 400, 450, 450] {
            let pause = backoff.pause();
            assert!(pause >= millis(whole / 2) && pause <= millis(whole), "{pause:?} of {whole} ms");
        }
        backoff.reset();
        assert!(backoff.pause() <= millis(100));
    }

    #[test]
    fn pauses_differ() {
        let pauses: std::collections::HashSet<Duration> =
            (0..20).map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).pause()).collect();
        assert!(pauses.len() > 10);
    }
}
