//! `agentrun get`: runs, or one run with its result.

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::{COMPLETE, Context};
use crate::{
    args::{self, Format},
    report::Report,
    view,
};

/// Shows all runs, or one.
pub(crate) fn run(arguments: args::Get, context: &Context) -> anyhow::Result<u8> {
    let bytes = match &arguments.name {
        Some(name) => one(name, &arguments, context)?,
        None => all(&arguments, context)?,
    };
    context.printer.data(&bytes)?;
    Ok(COMPLETE)
}

fn one(name: &str, arguments: &args::Get, context: &Context) -> anyhow::Result<Vec<u8>> {
    let (state, store, run) = context.find(name, arguments.simulated)?;
    let report = Report::of(&run, &store.trials(run.id)?, state.is_simulated())?;
    Ok(match arguments.output {
        Format::Table => view::run::text(&report).into_bytes(),
        Format::Json => view::json(&report.resource)?,
        Format::Yaml => view::yaml(&report.resource)?,
        Format::Csv => view::csv(&view::run::columns(&report))?,
    })
}

fn all(arguments: &args::Get, context: &Context) -> anyhow::Result<Vec<u8>> {
    let mut reports = Vec::new();
    for (state, store) in context.stores(arguments.simulated)? {
        for run in store.runs()? {
            let trials = store.trials(run.id)?;
            reports.push(Report::of(&run, &trials, state.is_simulated()).with_context(|| format!("reading run `{}`", run.name))?);
        }
    }
    if reports.is_empty() {
        context.printer.note(&format!("there are no runs in {} yet: agentrun run -f FILE makes one", context.state.display()));
    }
    let list = || {
        let items: Vec<_> = reports.iter().map(|report| &report.resource).collect();
        json!({"apiVersion": agentrun_crds::agent_run::API_VERSION, "kind": "AgentRunList", "items": items})
    };
    Ok(match arguments.output {
        Format::Table if reports.is_empty() => Vec::new(),
        Format::Table => view::runs::text(&reports, Timestamp::now()).into_bytes(),
        Format::Json => view::json(&list())?,
        Format::Yaml => view::yaml(&list())?,
        Format::Csv => view::csv(&view::runs::columns(&reports))?,
    })
}
