//! `agentrun calls`: the records of calls.

use agentrun_llm::call::CallRecord;
use agentrun_sidecar::journal::{Filter, Reader};
use anyhow::Context as _;

use super::{COMPLETE, Context, Refused};
use crate::{
    args::{self, Format},
    settings::State,
    view,
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
pub(crate) fn run(arguments: args::Calls, context: &Context) -> anyhow::Result<u8> {
    if let Some(outcome) = arguments.outcome.as_deref().filter(|outcome| !OUTCOMES.contains(outcome)) {
        return Err(Refused(format!("--outcome: no call ends `{outcome}`; there is {}", OUTCOMES.join(", "))).into());
    }
    let state = match &arguments.name {
        Some(name) => context.find(name, arguments.simulated)?.0,
        None => State::at(&context.state, arguments.simulated)?,
    };
    let limit = arguments.limit.unwrap_or(if arguments.output == Format::Table { TABLE_ROWS } else { 0 });
    let records = if state.calls().exists() && arguments.limit != Some(0) {
        Reader::open(&state.calls())?.calls(&filter(&arguments, limit)).context("reading the records")?
    } else {
        Vec::new()
    };
    if arguments.limit.is_none() && limit > 0 && records.len() as u64 == limit {
        context.printer.note(&format!("these are the newest {limit}; --limit N shows more, --offset N earlier ones"));
    }
    if records.is_empty() {
        context.printer.note("no call is recorded that fits");
    }
    if state.is_simulated() && arguments.name.is_none() {
        context.printer.note("these calls are simulated: no model was asked");
    }
    context.printer.data(&bytes(&records, arguments.output)?)?;
    Ok(COMPLETE)
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
