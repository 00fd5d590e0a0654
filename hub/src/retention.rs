//! Old runs' data is removed, as the installation's rules say.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{api::State, archive::Retention};

/// How often the rules are applied.
const OFTEN: Duration = Duration::from_secs(600);

/// Applies the rules now and then, for ever.
pub(crate) async fn keep(state: Arc<State>, retention: Retention) {
    if retention == Retention::default() {
        return;
    }
    loop {
        match state.archive.retain(retention, Timestamp::now()).await {
            Ok(0) => {}
            Ok(runs) => {
                state.metrics.removed_runs.inc_by(runs as u64);
                tracing::info!(runs, "removed the data of runs that are no longer to be kept");
            }
            Err(error) => tracing::warn!(error = crate::sentence(&error), "old runs' data cannot be removed now"),
        }
        tokio::time::sleep(OFTEN).await;
    }
}
