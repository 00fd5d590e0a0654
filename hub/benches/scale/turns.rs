//! How many sidecars speak to the hub at once, and how many trials end a second.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Sidecars that speak to the hub at once; others have their turn after them.
const AT_ONCE: usize = 64;

/// Who may play a trial.
pub(crate) struct Turns {
    places: Semaphore,
    pace: Option<Mutex<Interval>>,
}

impl Turns {
    /// As fast as it goes, or so many trials a second at most.
    pub(crate) fn new(a_second: Option<NonZeroU32>) -> Self {
        let pace = a_second.map(|trials| {
            let mut pace = interval(Duration::from_secs(1) / trials.get());
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Mutex::new(pace)
        });
        Self { places: Semaphore::new(AT_ONCE), pace }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// None is given any more.
    pub(crate) async fn next(&self) -> Result<SemaphorePermit<'_>> {
        let place = self.places.acquire().await?;
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        Ok(place)
    }
}
