//! How many sidecars speak to the hub at once, and how many trials end a second.

use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::settings::Settings;

/// Sidecars that speak to the hub at once; others have their turn after them.
const AT_ONCE: usize = 64;

/// Who may play a trial.
pub(crate) struct Turns {
    places: Semaphore,
    trials: Option<Pace>,
    pods: Option<Pace>,
}

impl Turns {
    /// As fast as it goes, or as slowly as the settings say.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { places: Semaphore::new(AT_ONCE), trials: settings.pace.map(Pace::new), pods: settings.pods_pace.map(Pace::new) }
    }

    /// Waits for the turn of a trial without a pod.
    ///
    /// # Errors
    /// None is given any more.
    pub(crate) async fn next(&self) -> Result<SemaphorePermit<'_>> {
        let place = self.places.acquire().await?;
        if let Some(pace) = &self.trials {
            pace.keep().await;
        }
        Ok(place)
    }

    /// Waits for the turn of a pod. One that keeps its own pace takes nobody's place meanwhile.
    ///
    /// # Errors
    /// None is given any more.
    pub(crate) async fn next_pod(&self) -> Result<SemaphorePermit<'_>> {
        if let Some(pace) = &self.pods {
            pace.keep().await;
        }
        self.next().await
    }
}

/// So many a second.
struct Pace(Mutex<Interval>);

impl Pace {
    fn new(a_second: NonZeroU32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / a_second.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Mutex::new(ticks))
    }

    async fn keep(&self) {
        self.0.lock().await.tick().await;
    }
}
