//! `agentrun inject`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

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
