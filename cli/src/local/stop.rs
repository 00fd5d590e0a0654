//! How a run is asked to end early.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two wishes: to stop, and to stop at once. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    gently: CancellationToken,
    at_once: CancellationToken,
}

impl Stop {
    /// A stop that the next SIGINT or SIGTERM asks for, and the one after it hurries.
    ///
    /// # Errors
    /// The machine refuses a signal handler.
    pub(crate) fn on_signals(told: impl Fn(&'static str) + Send + 'static) -> std::io::Result<Self> {
        let stop = Self::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shared = stop.clone();
        tokio::spawn(async move {
            for message in ["stopping; press Ctrl-C again to stop at once", "stopping at once"] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                told(message);
                shared.ask();
            }
        });
        Ok(stop)
    }

    /// Asks; asked a second time, hurries.
    pub(crate) fn ask(&self) {
        if self.gently.is_cancelled() {
            self.at_once.cancel();
        }
        self.gently.cancel();
    }

    /// Whether a stop has been asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.gently.is_cancelled()
    }

    /// Ends when a stop is asked for.
    pub(crate) async fn asked(&self) {
        self.gently.cancelled().await;
    }

    /// Ends when there is no time left.
    pub(crate) async fn hurried(&self) {
        self.at_once.cancelled().await;
    }
}
