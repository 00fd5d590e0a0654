//! Outputs that wait for their score, page by page, as lines for the program.

use std::sync::Arc;

use agentrun_protocol::{paths, score::Item};
use tokio::{io::AsyncWriteExt, net::unix::OwnedWriteHalf, sync::mpsc};

use crate::hub::{Ask, Hub, HubError};

/// Outputs may be a megabyte each; a page is held in memory.
const PAGE: u64 = 32;

/// Writes a question for every output that waits, and tells its trial to `asked` first. Ends with the outputs, or with the program: whether every
/// output was asked about.
pub(super) async fn questions(hub: Arc<Hub>, mut program: OwnedWriteHalf, asked: mpsc::Sender<i64>) -> Result<bool, HubError> {
    let mut after = -1;
    loop {
        let items = page(&hub, after).await?;
        let Some(last) = items.last() else {
            // The end of its input tells the program to end; it may have gone already.
            program.shutdown().await.ok();
            return Ok(true);
        };
        after = last.trial;
        for item in &items {
            let mut line = serde_json::to_vec(&item.question).map_err(|error| HubError::Answer(error.to_string()))?;
            line.push(b'\n');
            if asked.send(item.trial).await.is_err() || program.write_all(&line).await.is_err() {
                return Ok(false);
            }
        }
    }
}

async fn page(hub: &Hub, after: i64) -> Result<Vec<Item>, HubError> {
    let path = format!("{}?after={after}&limit={PAGE}", paths::SCORE_ITEMS);
    let answer = hub.insist(|| Ask::get(&path)).await?;
    let lines = answer.body().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| HubError::Answer(error.to_string()))).collect()
}
