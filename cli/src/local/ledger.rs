//! What a run's calls came to, by their records: calls of attempts that were stopped, killed or tried again cost money too.

use std::path::Path;

use agentrun_hub::{RunRecord, Spending};
use agentrun_llm::call::{CallRecord, Outcome};
use agentrun_sidecar::{
    JournalError,
    journal::{Filter, Reader},
};

/// Adds up the records of this generation of a run. A run without records has none.
///
/// # Errors
/// The journal cannot be read.
pub(crate) fn spending(journal: &Path, run: &RunRecord) -> Result<Spending, JournalError> {
    let mut sum = Spending::default();
    if journal.exists() {
        let filter = Filter { run: Some(run.name.clone()), since: Some(run.started), ..Filter::default() };
        Reader::open(journal)?.each(&filter, |record| add(&mut sum, &record))?;
    }
    Ok(sum)
}

fn add(sum: &mut Spending, record: &CallRecord) {
    let complete = record.status_code == 200;
    sum.calls += 1;
    sum.cached += u64::from(record.cached);
    sum.failed += u64::from(!matches!(record.outcome, Outcome::Complete | Outcome::Unreadable));
    sum.unreadable += u64::from(record.outcome == Outcome::Unreadable || (complete && record.usage().is_none()));
    sum.unpriced += u64::from(complete && record.usage().is_some() && record.cost_usd.is_none());
    sum.spent = sum.spent.saturating_add(record.cost_usd.unwrap_or_default());
    sum.saved = sum.saved.saturating_add(record.saved_usd.unwrap_or_default());
}
