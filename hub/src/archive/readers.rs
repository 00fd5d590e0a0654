//! What people and scripts ask.

use agentrun_crds::status::RankedCombo;
use agentrun_llm::call::Outcome;
use agentrun_protocol::query::{self, Filter, PAGE, Page};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{
    Archive, Result, backend::CallQuery, change::rows_of, error::ArchiveError, lines::without_nul, results::PAGE_BYTES, types::RunId,
};

/// How many items a page has.
pub(super) fn page(limit: Option<u64>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, PAGE) as usize
}

/// Reads a cursor.
pub(super) fn number(cursor: Option<&str>) -> Result<Option<u64>> {
    let refused = |_| ArchiveError::Query("the cursor is none that was given out here: use `next` of the page before".to_owned());
    cursor.map(|cursor| cursor.parse::<u64>().map_err(refused)).transpose()
}

fn time(name: &str, text: Option<&String>) -> Result<Option<i64>> {
    let refused = |_| ArchiveError::Query(format!("`{name}` is no time: write it as in 2026-01-31T12:00:00Z"));
    text.map(|text| text.parse::<Timestamp>().map(Timestamp::as_microsecond).map_err(refused)).transpose()
}

impl Archive {
    /// A run in a few numbers.
    ///
    /// # Errors
    /// No such run.
    pub async fn run(&self, run: RunId) -> Result<query::Run> {
        let row = self.shelf().directory(|directory| directory.live(run.0).cloned()).await??;
        let open = self.shelf().open(run).await?;
        let calls = open.lock().sums.calls;
        Ok(row.shown(calls))
    }

    /// A run's records that a filter lets pass, in the order they arrived, or the newest first. A page holds at most [`query::PAGE`] records and some MiB.
    ///
    /// # Errors
    /// No such run, or a filter or cursor of no use.
    pub async fn calls(&self, run: RunId, filter: &Filter) -> Result<Page<Box<RawValue>>> {
        let (first, end) = rows_of(run.0);
        let cursor = number(filter.cursor.as_deref())?;
        // A cursor past all rows is the same as one at their end.
        let reached = cursor.map(|cursor| i64::try_from(cursor).ok().and_then(|cursor| first.checked_add(cursor)).unwrap_or(end));
        let (after, before) = if filter.newest_first { (first, reached.unwrap_or(end).min(end)) } else { (reached.unwrap_or(first), end) };
        let outcome = filter.outcome.clone().map(known_outcome).transpose()?;
        let open = self.shelf().open(run).await?;
        let limit = page(filter.limit);
        let query = CallQuery {
            after,
            before,
            newest_first: filter.newest_first,
            wanted: open.lock().wanted(filter),
            model: filter.model.as_deref().map(without_nul),
            cached: filter.cached,
            outcome,
            since: time("since", filter.since.as_ref())?,
            until: time("until", filter.until.as_ref())?,
            limit: limit + 1,
            bytes: PAGE_BYTES as usize,
        };
        let mut found = self.shelf().backend().calls(query).await?;
        let full = found.iter().map(|stored| stored.bytes()).sum::<usize>() >= PAGE_BYTES as usize;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more || full).map(|last| (last.id - first).to_string());
        let owned = {
            let state = open.lock();
            found.into_iter().map(|stored| (state.owner(stored.attempt), stored)).collect::<Vec<_>>()
        };
        let put_together = move || owned.into_iter().map(|(owner, stored)| stored.record(&owner)).collect::<Result<Vec<_>>>();
        let items = tokio::task::spawn_blocking(put_together).await;
        Ok(Page { items: items.map_err(|error| ArchiveError::Broken(format!("reading records: {error}")))??, next })
    }

    /// A run's trials by combo, sample and datapoint, all that it will have; of a run that nobody registered, its pods. Filters by combo and
    /// datapoint.
    ///
    /// # Errors
    /// No such run, or a cursor that is none.
    pub async fn trials(&self, run: RunId, filter: &Filter) -> Result<Page<query::Trial>> {
        let from = number(filter.cursor.as_deref())?.unwrap_or_default();
        let limit = page(filter.limit);
        let open = self.shelf().open(run).await?;
        let mut listed = open.lock().list(filter, from, limit + 1);
        let mut bytes = 0;
        let fits = listed.iter().take(limit).take_while(|listed| {
            let fits = bytes < PAGE_BYTES;
            bytes += listed.output.map_or(0, |(_, length)| length);
            fits
        });
        let fits = fits.count();
        let more = fits < listed.len();
        listed.truncate(fits);
        let next = listed.last().filter(|_| more).map(|last| last.next.to_string());
        let attempts = listed.iter().filter_map(|listed| Some(listed.output?.0)).collect();
        let outputs = self.shelf().backend().outputs(attempts).await?;
        let outputs: std::collections::HashMap<i64, bytes::Bytes> = outputs.into_iter().collect();
        let items = listed.into_iter().map(|listed| {
            let output = listed.output.and_then(|(attempt, _)| outputs.get(&attempt));
            query::Trial { output: output.map(|output| String::from_utf8_lossy(output).into_owned()), ..listed.trial }
        });
        Ok(Page { items: items.collect(), next })
    }

    /// A run's whole ranking.
    ///
    /// # Errors
    /// No such run, or a cursor that is none.
    pub async fn results(&self, run: RunId, filter: &Filter) -> Result<Page<RankedCombo>> {
        let from = usize::try_from(number(filter.cursor.as_deref())?.unwrap_or_default()).unwrap_or(usize::MAX);
        let limit = page(filter.limit);
        let open = self.shelf().open(run).await?;
        self.sum_up(&open).await?;
        let ranking = open.lock().ranked.as_ref().map(|(_, ranking)| ranking.clone());
        let ranked = ranking.as_ref().map(|ranking| ranking.ranked.as_slice()).unwrap_or_default();
        let items = ranked.iter().skip(from).take(limit).map(RankedCombo::from).collect();
        let next = from.saturating_add(limit);
        Ok(Page { items, next: (next < ranked.len()).then(|| next.to_string()) })
    }
}

fn known_outcome(name: String) -> Result<String> {
    match serde_json::from_value::<Outcome>(name.clone().into()) {
        Ok(_) => Ok(name),
        Err(error) => Err(ArchiveError::Query(format!("`outcome` is none: {error}"))),
    }
}
