//! The command line, and nothing else.

mod cluster;
mod inject;
mod serve;
mod since;
mod upstream;

use std::path::PathBuf;

use agentrun_sidecar::{CacheMode, CaptureMode};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use cluster::{Apply, Delete, Logs, Place, Target, Watch};
pub(crate) use inject::{Inject, InjectOutput};
pub(crate) use serve::Serve;
pub(crate) use since::Since;
pub(crate) use upstream::Upstream;

/// Find out which combination of models in an agent is best, at what cost.
#[derive(Debug, Parser)]
#[command(name = "agentrun", version, arg_required_else_help = true, max_term_width = 120)]
pub(crate) struct Arguments {
    /// The folder that holds runs, records and cached answers
    #[arg(long, global = true, value_name = "DIR", env = "AGENTRUN_STATE", default_value = ".agentrun")]
    pub(crate) state: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Evaluate a manifest on this machine: every combo on every datapoint, each trial a process
    Run(Run),
    /// Run one command with its LLM calls recorded and cached
    Exec(Exec),
    /// Serve sessions to clients of AgentOpt, and others, until it is stopped
    Serve(Serve),
    /// Show runs, or one run with its result
    Get(Get),
    /// Show the records of LLM calls
    Calls(Calls),
    /// Write a run's result table
    Export(Export),
    /// Give a manifest to a cluster, which evaluates it
    Apply(Apply),
    /// Follow a run of a cluster to its end
    Watch(Watch),
    /// Show what the agents of a cluster's run print
    Logs(Logs),
    /// Delete a run of a cluster with all that it made
    Delete(Delete),
    /// Show what a cluster would make of a pod, or of anything that makes pods, without asking one
    Inject(Inject),
    /// Look after the cached answers
    Cache(Cache),
    /// Check a manifest and tell all its mistakes at once
    Validate(Validate),
    /// Print a completion script for a shell
    Completion(Completion),
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The manifest: an AgentRun in YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Answer every LLM call from a simulation: nothing is paid, no network is used
    #[arg(long)]
    pub(crate) simulate: bool,
    /// What the simulation answers [default: `simulation.yaml` beside the manifest]
    #[arg(long, value_name = "FILE", requires = "simulate")]
    pub(crate) simulation: Option<PathBuf>,
    /// Evaluate again even where the result is already known
    #[arg(long)]
    pub(crate) again: bool,
    /// Trials at once [default: the manifest's `limits.parallelism`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallelism: Option<u16>,
    #[command(flatten)]
    pub(crate) upstream: Upstream,
    /// How the result is written
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// The datapoint that calls are recorded for
    #[arg(long, value_name = "X")]
    pub(crate) data_id: Option<String>,
    /// The combo that calls are recorded for
    #[arg(long, value_name = "Y")]
    pub(crate) combo_id: Option<String>,
    /// The agent that calls are recorded for
    #[arg(long, value_name = "Z")]
    pub(crate) agent_id: Option<String>,
    /// What may be done with cached answers: ReadWrite, ReadOnly, Refresh, ReplayOnly, Off
    #[arg(long, value_name = "MODE", default_value = "ReadWrite")]
    pub(crate) cache: CacheMode,
    /// How calls reach the proxy: connect (proxy variables), base-url (for clients that ignore those)
    #[arg(long, value_name = "LAYER", value_delimiter = ',', default_value = "connect")]
    pub(crate) capture: Vec<CaptureMode>,
    /// Choose the models of calls by the policy in this file: random, rules or webhook
    #[arg(long, value_name = "FILE")]
    pub(crate) routing: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) upstream: Upstream,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The run; all runs without it
    pub(crate) name: Option<String>,
    /// Look at simulated runs alone
    #[arg(long)]
    pub(crate) simulated: bool,
    /// How it is written
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct Calls {
    /// The run; calls of all runs, and of `exec`, without it
    pub(crate) name: Option<String>,
    /// Calls for this datapoint
    #[arg(long, value_name = "X")]
    pub(crate) data_id: Option<String>,
    /// Calls for this combo
    #[arg(long, value_name = "Y")]
    pub(crate) combo_id: Option<String>,
    /// Calls for this agent
    #[arg(long, value_name = "Z")]
    pub(crate) agent_id: Option<String>,
    /// Calls to this model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Calls that were answered from the cache
    #[arg(long, conflicts_with = "uncached")]
    pub(crate) cached: bool,
    /// Calls that were not
    #[arg(long)]
    pub(crate) uncached: bool,
    /// Calls that ended like this: complete, http_error, timeout, upstream_refused, …
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Calls that ended after a time (2026-11-22T10:00:00Z) or within a span (90s, 15m, 2h, 7d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Leave out the first N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: u64,
    /// Look at simulated calls
    #[arg(long)]
    pub(crate) simulated: bool,
    /// Sum them up instead: models in the order they were asked, tokens of each, latency
    #[arg(long, conflicts_with = "output")]
    pub(crate) summary: bool,
    /// How they are written
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The run
    pub(crate) name: String,
    /// The file's format
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: ExportFormat,
    /// One row a trial, with its output, instead of one a combo
    #[arg(long)]
    pub(crate) trials: bool,
    /// The file to write [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Look at simulated runs alone
    #[arg(long)]
    pub(crate) simulated: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) action: CacheAction,
    /// The simulations' cache
    #[arg(long, global = true)]
    pub(crate) simulated: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum CacheAction {
    /// Count the cached answers
    Stats,
    /// Delete all cached answers
    Clear,
    /// Write everything to the database file itself and give freed space back, as before copying it
    Flush,
}

#[derive(Args, Debug)]
pub(crate) struct Validate {
    /// The manifest: an AgentRun in YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Csv,
    Json,
    Parquet,
    /// A LiteLLM proxy's configuration that serves the best combo's models
    Litellm,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }
}
