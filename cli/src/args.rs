//! The command line, and nothing else.

use std::{path::PathBuf, str::FromStr};

use agentrun_llm::provider::{Hosts, Shape};
use agentrun_sidecar::{CacheMode, CaptureMode, UpstreamRule};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::{SignedDuration, Timestamp};

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

/// Which cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Target {
    /// The cluster's namespace [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig's context
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: what KUBECONFIG names, else ~/.kube/config, else the pod's own service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace that AgentRun is installed in
    #[arg(long, value_name = "NAMESPACE", env = "AGENTRUN_SYSTEM_NAMESPACE", default_value = "agentrun-system")]
    pub(crate) system_namespace: String,
}

/// This machine's runs, or a cluster's.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Look in the cluster; -n, --context and --kubeconfig say so as well
    #[arg(long, conflicts_with = "simulated")]
    pub(crate) cluster: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Place {
    /// The cluster that is to be looked at; `None`: this machine.
    pub(crate) fn cluster(&self) -> Option<&Target> {
        let Target { namespace, context, kubeconfig, .. } = &self.target;
        (self.cluster || namespace.is_some() || context.is_some() || kubeconfig.is_some()).then_some(&self.target)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The manifest: an AgentRun in YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Ask the cluster whether it would take it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The run
    pub(crate) name: String,
    /// How the result is written
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The run
    pub(crate) name: String,
    /// The pods of this datapoint
    #[arg(long, value_name = "X")]
    pub(crate) data_id: Option<String>,
    /// The pods of this combo
    #[arg(long, value_name = "Y")]
    pub(crate) combo_id: Option<String>,
    /// The sidecars instead of the agents
    #[arg(long)]
    pub(crate) sidecar: bool,
    /// Go on as pods print more
    #[arg(long)]
    pub(crate) follow: bool,
    /// The last N lines of each pod
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tail: Option<i64>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The run
    pub(crate) name: String,
    /// Do not wait until it is gone
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Where calls go.
#[derive(Args, Debug, Default)]
pub(crate) struct Upstream {
    /// Read the calls of one more LLM host; SHAPE is openai (the default), anthropic, gemini, cohere, bedrock or mistral. May be repeated
    #[arg(long = "provider", value_name = "NAME=URL[,SHAPE]")]
    pub(crate) providers: Vec<Provider>,
    /// Answer HOST's calls at URL: a gateway, a server of your own, a test. May be repeated
    #[arg(long = "upstream", value_name = "HOST=URL")]
    pub(crate) rules: Vec<UpstreamRule>,
    /// Trust the certificates in this PEM file upstream, beside the system's. May be repeated
    #[arg(long = "upstream-ca", value_name = "FILE")]
    pub(crate) authorities: Vec<PathBuf>,
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
pub(crate) struct Inject {
    /// The manifest: a Pod, Job, CronJob, Deployment, AgentRun, …; several in one file; `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Capture layers, as in Connect,Dns,BaseUrl [default: Connect; an AgentRun says its own]
    #[arg(long, value_name = "LIST")]
    pub(crate) capture: Option<Layers>,
    /// Label pods that name no run
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    /// The sidecar's image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// The hub's URL
    #[arg(long, value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    /// A PEM file with what the hub's certificate must chain to; the webhook fills it in otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) hub_ca: Option<PathBuf>,
    /// What is shown: what changes, or the whole
    #[arg(short, long, value_name = "FORMAT", default_value = "diff")]
    pub(crate) output: InjectOutput,
}

/// Capture layers in pods.
#[derive(Clone, Debug)]
pub(crate) struct Layers(pub(crate) Vec<agentrun_crds::network::CaptureMode>);

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        agentrun_operator::inject::parse_layers(text).map(Self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InjectOutput {
    Diff,
    Yaml,
    Json,
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
}

/// An LLM host beyond the built-in ones.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) base_url: String,
    pub(crate) shape: Shape,
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=URL[,SHAPE]"))?;
        let (base_url, shape) = rest.rsplit_once(',').unwrap_or((rest, "openai"));
        let shape = match shape {
            "openai" => Shape::OpenAi,
            "anthropic" => Shape::Anthropic,
            "gemini" => Shape::Gemini,
            "cohere" => Shape::Cohere,
            "bedrock" => Shape::Bedrock,
            "mistral" => Shape::Mistral,
            other => return Err(format!("`{other}` is no shape; use openai, anthropic, gemini, cohere, bedrock or mistral")),
        };
        // What is wrong with the URL is known to the host table alone.
        Hosts::builtin().add(name, base_url, shape).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), base_url: base_url.to_owned(), shape })
    }
}

impl Upstream {
    /// Adds the providers that the command line names.
    pub(crate) fn add_to(&self, hosts: &mut Hosts) {
        for provider in &self.providers {
            hosts.add(&provider.name, &provider.base_url, provider.shape).expect("checked when it was parsed");
        }
    }
}

/// A moment: a timestamp, or a span before now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(pub(crate) Timestamp);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(timestamp) = text.parse() {
            return Ok(Self(timestamp));
        }
        let refusal = || format!("`{text}` is neither a time (2026-11-22T10:00:00Z) nor a span (90s, 15m, 2h, 7d)");
        let unit = text.chars().last().ok_or_else(refusal)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(refusal()),
        };
        let count: u32 = text[..text.len() - 1].parse().map_err(|_| refusal())?;
        Timestamp::now().checked_sub(SignedDuration::from_secs(i64::from(count) * seconds)).map(Self).map_err(|_| refusal())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn any_word_of_a_cluster_means_the_cluster() {
        let place = |flags: &[&str]| {
            let arguments = Arguments::try_parse_from(["agentrun", "get", "run"].iter().chain(flags)).map_err(|error| error.to_string())?;
            let Verb::Get(get) = arguments.verb else { panic!("get") };
            Ok::<_, String>(get.place.cluster().is_some())
        };
        assert_eq!(place(&[]), Ok(false));
        for flags in [&["-n", "team"][..], &["--cluster"], &["--context", "c"], &["--kubeconfig", "f"]] {
            assert_eq!(place(flags), Ok(true), "{flags:?}");
        }
        assert!(place(&["--cluster", "--simulated"]).is_err());
    }

    #[test]
    fn a_provider_is_a_name_a_url_and_perhaps_a_shape() {
        let provider: Provider = "house=https://llm.example/v1,anthropic".parse().unwrap();
        assert_eq!(
            (provider.name.as_str(), provider.base_url.as_str(), provider.shape),
            ("house", "https://llm.example/v1", Shape::Anthropic)
        );
        assert_eq!("house=http://localhost:11434".parse::<Provider>().unwrap().shape, Shape::OpenAi);
        for wrong in ["house", "house=llm.example", "house=https://llm.example,cobol"] {
            assert!(wrong.parse::<Provider>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_span() {
        assert_eq!("2026-11-22T10:00:00Z".parse::<Since>().unwrap().0.to_string(), "2026-11-22T10:00:00Z");
        let hour = Timestamp::now().duration_since("1h".parse::<Since>().unwrap().0);
        assert!((3590..=3610).contains(&hour.as_secs()), "{hour}");
        for wrong in ["", "1", "h", "-1h", "1w", "99999999999d", "é"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
