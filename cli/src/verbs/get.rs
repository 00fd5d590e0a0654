//! `agentrun get`: runs, or one run with its result.

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{COMPLETE, Context};
use crate::{
    args::{self, Format},
    cluster::{Cluster, resource},
    report::Report,
    view,
};

/// Shows all runs, or one.
pub(crate) async fn run(arguments: args::Get, context: &Context) -> anyhow::Result<u8> {
    let bytes = match (arguments.place.cluster(), &arguments.name) {
        (Some(target), name) => in_cluster(&Cluster::connect(target).await?, name.as_deref(), arguments.output, context).await?,
        (None, Some(name)) => one(name, &arguments, context)?,
        (None, None) => all(&arguments, context)?,
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

/// A cluster's runs, or one of them.
async fn in_cluster(cluster: &Cluster, name: Option<&str>, output: Format, context: &Context) -> anyhow::Result<Vec<u8>> {
    if let Some(name) = name {
        let object = cluster.run(name).await?;
        if output == Format::Yaml || output == Format::Json {
            return written(&resource::shown(object), output);
        }
        let report = Report::of_resource(resource::typed(object.clone())?);
        return shown(&report, object, output);
    }
    let items: Vec<Value> = cluster.list().await?;
    if items.is_empty() {
        context.printer.note(&format!("there are no runs in namespace {} yet: agentrun apply -f FILE makes one", cluster.namespace));
    }
    if output == Format::Yaml || output == Format::Json {
        let items: Vec<Value> = items.into_iter().map(resource::shown).collect();
        return written(&json!({"apiVersion": agentrun_crds::agent_run::API_VERSION, "kind": "AgentRunList", "items": items}), output);
    }
    let typed = items.into_iter().map(|item| resource::typed(item).map(Report::of_resource));
    let reports = typed.collect::<Result<Vec<Report>, _>>()?;
    Ok(match output {
        Format::Table if reports.is_empty() => Vec::new(),
        Format::Csv => view::csv(&view::runs::columns(&reports))?,
        _ => view::runs::text(&reports, Timestamp::now()).into_bytes(),
    })
}

/// One run of a cluster.
pub(crate) fn shown(report: &Report, object: Value, output: Format) -> anyhow::Result<Vec<u8>> {
    Ok(match output {
        Format::Table => {
            let status = report.resource.status.as_ref();
            (view::run::text(report) + &status.map(view::conditions::text).unwrap_or_default()).into_bytes()
        }
        Format::Csv => view::csv(&view::run::columns(report))?,
        _ => written(&resource::shown(object), output)?,
    })
}

fn written(value: &Value, output: Format) -> anyhow::Result<Vec<u8>> {
    Ok(if output == Format::Yaml { view::yaml(value)? } else { view::json(value)? })
}
