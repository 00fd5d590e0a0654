//! `agentrun calls`: the records of calls.

use agentrun_llm::call::CallRecord;
use agentrun_protocol::query;
use agentrun_sidecar::journal::{Filter, Reader};
use anyhow::Context as _;
use serde_json::Value;

use super::{COMPLETE, Context, Refused};
use crate::{
    args::{self, Format},
    cluster::Cluster,
    settings::State,
    view::{self, summary::Summary},
};

/// How many calls a table shows unless told otherwise.
const TABLE_ROWS: u64 = 100;
/// What a record says of how a call ended.
const OUTCOMES: [&str; 11] = [
    "complete",
    "client_gone",
    "upstream_cut",
    "upstream_refused",
    "upstream_tls",
    "timeout",
    "http_error",
    "provider_error",
    "unreadable",
    "replay_miss",
    "refused",
];

/// Shows the newest calls that the filters let through, in the order they ended.
pub(crate) async fn run(arguments: args::Calls, context: &Context) -> anyhow::Result<u8> {
    if let Some(outcome) = arguments.outcome.as_deref().filter(|outcome| !OUTCOMES.contains(outcome)) {
        return Err(Refused(format!("--outcome: no call ends `{outcome}`; there is {}", OUTCOMES.join(", "))).into());
    }
    if let Some(target) = arguments.place.cluster() {
        return in_cluster(&arguments, target, context).await;
    }
    let state = match &arguments.name {
        Some(name) => context.find(name, arguments.simulated)?.0,
        None => State::at(&context.state, arguments.simulated)?,
    };
    let limit = limit(&arguments);
    let reads = state.calls().exists() && arguments.limit != Some(0);
    if arguments.summary {
        let mut summary = Summary::default();
        if reads {
            Reader::open(&state.calls())?.each(&filter(&arguments, limit), |record| summary.add(&record)).context("reading the records")?;
        }
        say_simulated(&state, &arguments, context);
        context.printer.data(summary.text().as_bytes())?;
        return Ok(COMPLETE);
    }
    let records =
        if reads { Reader::open(&state.calls())?.calls(&filter(&arguments, limit)).context("reading the records")? } else { Vec::new() };
    say_how_many(&arguments, limit, records.len(), context);
    say_simulated(&state, &arguments, context);
    context.printer.data(&bytes(&records, arguments.output)?)?;
    Ok(COMPLETE)
}

/// How many of the newest calls are shown; 0 is all.
fn limit(arguments: &args::Calls) -> u64 {
    let is_table = arguments.output == Format::Table && !arguments.summary;
    arguments.limit.unwrap_or(if is_table { TABLE_ROWS } else { 0 })
}

fn say_simulated(state: &State, arguments: &args::Calls, context: &Context) {
    if state.is_simulated() && arguments.name.is_none() {
        context.printer.note("these calls are simulated: no model was asked");
    }
}

fn say_how_many(arguments: &args::Calls, limit: u64, shown: usize, context: &Context) {
    if arguments.limit.is_none() && limit > 0 && shown as u64 == limit {
        context.printer.note(&format!("these are the newest {limit}; --limit N shows more, --offset N earlier ones"));
    }
    if shown == 0 {
        context.printer.note("no call is recorded that fits");
    }
}

/// The same of a cluster's run, from its hub.
async fn in_cluster(arguments: &args::Calls, target: &args::Target, context: &Context) -> anyhow::Result<u8> {
    let Some(name) = &arguments.name else {
        return Err(Refused("name the run whose calls are wanted: the hub keeps them by run".to_owned()).into());
    };
    let cluster = Cluster::connect(target).await?;
    let hub = cluster.hub().await?;
    let limit = limit(arguments);
    let mut filter = query(arguments);
    let mut newest = Newest::new(limit, arguments.offset);
    let mut summary = arguments.summary.then(Summary::default);
    while let Some(wanted) = newest.wanted().filter(|_| arguments.limit != Some(0)) {
        filter.limit = Some(wanted);
        let page = hub.calls(name, &filter).await?;
        newest.add(page.items);
        if let Some(summary) = &mut summary {
            // Their bodies need not be kept.
            newest.kept.drain(..).try_for_each(|value| read(value).map(|record| summary.add(&record)))?;
        }
        filter.cursor = page.next;
        if filter.cursor.is_none() {
            break;
        }
    }
    if let Some(summary) = summary {
        context.printer.data(summary.text().as_bytes())?;
        return Ok(COMPLETE);
    }
    let mut records = newest.records().into_iter().map(read).collect::<anyhow::Result<Vec<CallRecord>>>()?;
    // They arrive at the hub pod by pod.
    records.sort_by_key(|record| record.timestamp);
    say_how_many(arguments, limit, records.len(), context);
    context.printer.data(&bytes(&records, arguments.output)?)?;
    Ok(COMPLETE)
}

fn read(record: Value) -> anyhow::Result<CallRecord> {
    serde_json::from_value(record).context("reading the hub's records: were they written by another version?")
}

/// The newest of many, of which some are left out, from pages that begin with the newest.
struct Newest {
    /// So many more are to be kept.
    room: u64,
    /// So many more are to be left out before.
    skip: u64,
    kept: Vec<Value>,
}

impl Newest {
    /// A limit of 0 is none.
    fn new(limit: u64, offset: u64) -> Self {
        Self { room: if limit == 0 { u64::MAX } else { limit }, skip: offset, kept: Vec::new() }
    }

    /// How many the next page should hold; `None` where there are enough.
    fn wanted(&self) -> Option<u64> {
        (self.room > 0).then(|| self.skip.saturating_add(self.room).min(query::PAGE))
    }

    fn add(&mut self, items: Vec<Value>) {
        for item in items {
            if self.skip > 0 {
                self.skip -= 1;
            } else if self.room > 0 {
                self.room -= 1;
                self.kept.push(item);
            }
        }
    }

    /// The oldest first.
    fn records(mut self) -> Vec<Value> {
        self.kept.reverse();
        self.kept
    }
}

fn query(arguments: &args::Calls) -> query::Filter {
    let Filter { data_id, combo_id, agent_id, model, cached, outcome, since, .. } = filter(arguments, 0);
    let since = since.map(|since| since.to_string());
    query::Filter { data_id, combo_id, agent_id, model, cached, outcome, since, newest_first: true, ..query::Filter::default() }
}

fn filter(arguments: &args::Calls, limit: u64) -> Filter {
    Filter {
        run: arguments.name.clone(),
        data_id: arguments.data_id.clone(),
        combo_id: arguments.combo_id.clone(),
        agent_id: arguments.agent_id.clone(),
        model: arguments.model.clone(),
        cached: match (arguments.cached, arguments.uncached) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        outcome: arguments.outcome.clone(),
        since: arguments.since.map(|since| since.0),
        limit,
        offset: arguments.offset,
    }
}

fn bytes(records: &[CallRecord], format: Format) -> anyhow::Result<Vec<u8>> {
    Ok(match format {
        Format::Table if records.is_empty() => Vec::new(),
        Format::Table => view::calls::text(records).into_bytes(),
        Format::Json => view::json(&records)?,
        // Bodies are raw JSON in the record, and become a tree that YAML can be written of.
        Format::Yaml => view::yaml(&serde_json::to_value(records)?)?,
        Format::Csv => view::csv(&view::calls::columns(records)?)?,
    })
}

#[cfg(test)]
mod tests {
    use agentrun_llm::call::Outcome;

    use super::*;

    #[test]
    fn the_newest_are_kept_whatever_the_pages() {
        let pages = || [vec![6, 5, 4], vec![3], vec![2, 1]].map(|page| page.into_iter().map(Value::from).collect::<Vec<_>>());
        for (limit, offset, wanted, expected) in [
            (2, 0, Some(2), vec![5, 6]),
            (2, 1, Some(3), vec![4, 5]),
            (0, 4, Some(1000), vec![1, 2]),
            (9, 0, Some(9), vec![1, 2, 3, 4, 5, 6]),
            (1, 9, Some(10), vec![]),
        ] {
            let mut newest = Newest::new(limit, offset);
            assert_eq!(newest.wanted(), wanted);
            pages().into_iter().for_each(|page| newest.add(page));
            assert_eq!(newest.wanted().is_none(), newest.kept.len() as u64 == limit, "{limit}, {offset}");
            assert_eq!(newest.records(), expected.into_iter().map(Value::from).collect::<Vec<_>>(), "{limit}, {offset}");
        }
    }

    #[test]
    fn every_outcome_of_a_record_can_be_asked_for() {
        let outcomes = [
            Outcome::Complete,
            Outcome::ClientGone,
            Outcome::UpstreamCut,
            Outcome::UpstreamRefused,
            Outcome::UpstreamTls,
            Outcome::Timeout,
            Outcome::HttpError,
            Outcome::ProviderError,
            Outcome::Unreadable,
            Outcome::ReplayMiss,
            Outcome::Refused,
        ];
        assert_eq!(outcomes.map(|outcome| serde_json::to_value(outcome).unwrap().as_str().unwrap().to_owned()), OUTCOMES);
    }
}
