//! Memory for the bodies that are read: one bound for all calls, however many there are at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted: 1 KiB.
const UNIT: usize = 1 << 10;
/// Smaller bodies are not counted; their calls take more than that for their connections.
const FREE: usize = 16 << 10;
/// A body that grows asks for this much more at a time.
const STEP: usize = 64 << 10;

/// The bound.
#[derive(Clone, Debug)]
pub(crate) struct Bodies(Arc<Semaphore>);

/// Memory that one body holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    waited: bool,
}

impl Bodies {
    /// Of `bytes` for all bodies together.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Room for a body of `bytes`: waits until others have gone. A call that waits holds nothing that another could wait for.
    pub(crate) async fn room(&self, bytes: usize) -> Held {
        if bytes <= FREE {
            return Held::default();
        }
        if let Ok(permit) = self.0.clone().try_acquire_many_owned(units(bytes)) {
            return Held { bytes, permit: Some(permit), waited: false };
        }
        // The semaphore is never closed.
        let permit = self.0.clone().acquire_many_owned(units(bytes)).await.ok();
        Held { bytes, permit, waited: true }
    }

    /// Whether `held` may grow to `bytes`: at once or not at all, since whoever waits for more than it has may wait for ever.
    pub(crate) fn grow(&self, held: &mut Held, bytes: usize) -> bool {
        if bytes <= held.bytes.max(FREE) {
            return true;
        }
        let more = (bytes - held.bytes).max(STEP);
        let Ok(permit) = self.0.clone().try_acquire_many_owned(units(more)) else { return false };
        match &mut held.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        held.bytes += more;
        true
    }
}

impl Held {
    /// Whether others had to go first.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_waits_for_room_and_grows_only_into_room() {
        let bodies = Bodies::new(512 << 10);
        let first = bodies.room(400 << 10).await;
        let small = bodies.room(FREE).await;
        let mut growing = Held::default();
        assert!(bodies.grow(&mut growing, FREE), "free");
        assert!(bodies.grow(&mut growing, FREE + 1), "a step of 64 KiB");
        assert!(!bodies.grow(&mut growing, 120 << 10), "112 KiB are left, 64 of them taken");
        let waiting = tokio::spawn({
            let bodies = bodies.clone();
            async move { bodies.room(300 << 10).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let waiting = waiting.await.unwrap();
        assert!(waiting.waited() && !small.waited());
        assert_eq!(waiting.bytes, 300 << 10);
        drop(waiting);
        assert!(bodies.grow(&mut growing, 120 << 10), "what the others held is free again");
        drop((small, growing));
        assert_eq!(bodies.0.available_permits(), 512);
    }
}
