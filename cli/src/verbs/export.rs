//! `agentrun export`: a run's result table.

use std::{fs, path::Path};

use agentrun_eval::{
    combo::Combo,
    rank::Ranked,
    report::{self, Table},
};
use agentrun_protocol::query::Filter;
use anyhow::Context as _;

use super::{COMPLETE, Context, Refused};
use crate::{
    args::{self, ExportFormat},
    cluster::Cluster,
    report::Report,
    view,
};

/// Writes one row a combo, best first, or one a trial; or what serves the best combo's models.
pub(crate) async fn run(arguments: args::Export, context: &Context) -> anyhow::Result<u8> {
    if arguments.output == ExportFormat::Parquet && arguments.to.is_none() && context.printer.data_is_seen() {
        return Err(Refused("Parquet is not for a terminal: write it with --to FILE, or to a pipe".to_owned()).into());
    }
    let bytes = if arguments.output == ExportFormat::Litellm {
        if arguments.trials {
            return Err(Refused("-o litellm serves the models of the best combo: it has no --trials".to_owned()).into());
        }
        report::litellm_config(&best(&arguments, context).await?).into_bytes()
    } else {
        let table = match arguments.place.cluster() {
            Some(target) => of_cluster(&arguments, &Cluster::connect(target).await?).await?,
            None => of_machine(&arguments, context)?,
        };
        match arguments.output {
            ExportFormat::Csv => view::csv(&table)?,
            ExportFormat::Json | ExportFormat::Litellm => view::json(&view::parquet::objects(&table))?,
            ExportFormat::Parquet => view::parquet::file(&table)?,
        }
    };
    match &arguments.to {
        None => context.printer.data(&bytes)?,
        Some(path) => write(path, &bytes)?,
    }
    Ok(COMPLETE)
}

/// The combo that leads the ranking.
async fn best(arguments: &args::Export, context: &Context) -> anyhow::Result<Combo> {
    let first = match arguments.place.cluster() {
        Some(target) => Cluster::connect(target).await?.hub().await?.results(&arguments.name).await?.first().map(Ranked::from),
        None => {
            let (state, store, run) = context.find(&arguments.name, arguments.simulated)?;
            Report::of(&run, &store.trials(run.id)?, state.is_simulated())?.ranked.into_iter().next()
        }
    };
    let first = first.with_context(|| format!("no combo of {} has a result yet", arguments.name))?;
    Ok(Combo { id: first.combo, models: first.models })
}

fn of_machine(arguments: &args::Export, context: &Context) -> anyhow::Result<Table> {
    let (state, store, run) = context.find(&arguments.name, arguments.simulated)?;
    let trials = store.trials(run.id)?;
    Ok(if arguments.trials {
        view::trials::columns(&trials, state.is_simulated())
    } else {
        view::run::columns(&Report::of(&run, &trials, state.is_simulated())?)
    })
}

/// The whole table is the hub's: the resource's status holds the best alone.
async fn of_cluster(arguments: &args::Export, cluster: &Cluster) -> anyhow::Result<Table> {
    let hub = cluster.hub().await?;
    if arguments.trials {
        let trials = hub.trials(&arguments.name, Filter::default()).await?;
        return Ok(view::trials::columns_of_hub(&trials));
    }
    let results = hub.results(&arguments.name).await?;
    let ranked: Vec<_> = results.iter().map(Ranked::from).collect();
    Ok(view::with_column(report::csv(&ranked), "simulated", "false"))
}

/// The file appears whole, or the old one stays.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("--to names no file")?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let partial = path.with_file_name(name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        drop(fs::remove_file(&partial));
    }
    written.with_context(|| format!("writing {}", path.display()))
}
