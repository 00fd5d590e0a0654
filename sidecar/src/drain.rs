//! Stopping without breaking calls: no new ones are admitted, running ones end.

use std::time::Duration;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// How long calls may take to record themselves once they are cut off.
const CUT_OFF: Duration = Duration::from_secs(2);

/// Counts what runs, and closes the door.
#[derive(Clone, Default)]
pub(crate) struct Drain {
    running: TaskTracker,
    closing: CancellationToken,
    over: CancellationToken,
}

/// Held by a call while it runs, its draining upstream included.
pub(crate) struct Admitted(#[expect(dead_code, reason = "counted by being alive")] TaskTrackerToken);

impl Drain {
    /// Admits a call; `None` when the door is closed.
    pub(crate) fn admit(&self) -> Option<Admitted> {
        (!self.is_closing()).then(|| Admitted(self.running.token()))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when the door closes.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Resolves when the grace is over: what has no end of its own, a tunnel, ends then.
    pub(crate) async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// Closes the door and waits for what runs, `grace` at most. Returns whether all ended.
    pub(crate) async fn close(&self, grace: Duration) -> bool {
        self.closing.cancel();
        self.running.close();
        let ended = tokio::time::timeout(grace, self.running.wait()).await.is_ok();
        self.over.cancel();
        if !ended {
            // What is cut off now still records itself.
            tokio::time::timeout(CUT_OFF, self.running.wait()).await.ok();
        }
        ended
    }

    /// A door that closes with this one, or alone.
    pub(crate) fn child(&self) -> Self {
        Self { running: TaskTracker::new(), closing: self.closing.child_token(), over: self.over.child_token() }
    }
}
