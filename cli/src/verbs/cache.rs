//! `agentrun cache`: the cached answers.

use agentrun_sidecar::{CacheStats, cache_stats, clear_cache};
use anyhow::Context as _;

use super::{COMPLETE, Context};
use crate::{
    args::{self, CacheAction},
    settings::State,
};

/// Counts, clears or flushes the cache.
pub(crate) fn run(arguments: args::Cache, context: &Context) -> anyhow::Result<u8> {
    let state = State::at(&context.state, arguments.simulated)?;
    let path = state.cache();
    let file = path.display();
    let (CacheStats { answers, bytes, .. }, what) = match arguments.action {
        CacheAction::Stats => (cache_stats(&path).context("counting the cached answers")?, "in"),
        CacheAction::Clear => (clear_cache(&path).context("deleting the cached answers")?, "deleted from"),
        CacheAction::Flush => {
            if path.exists() {
                agentrun_hub::checkpoint(&path)?;
            }
            (cache_stats(&path).context("counting the cached answers")?, "written to")
        }
    };
    let answers = if answers == 1 { "1 answer".to_owned() } else { format!("{answers} answers") };
    context.printer.data(format!("{answers}, {bytes} bytes, {what} {file}\n").as_bytes())?;
    Ok(COMPLETE)
}
