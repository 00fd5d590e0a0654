//! The flags and variables of a pod's sidecar, as the injector writes them (`agentrun_protocol::pod`).

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use agentrun_protocol::names;

use crate::{
    CacheConfig, CacheMode, CaptureMode, Config, Limits, Session, UpstreamRule,
    args::{ArgsError, allowed, hosts},
    hub::{Hub, HubError},
};

/// Runs beside an agent in its pod: gets the pod's trial from the hub, hands its input over and its output and records back.
#[derive(Clone, Debug, clap::Args)]
pub struct PodArgs {
    /// Where the hub is
    #[arg(long, value_name = "URL", env = names::HUB_URL_ENV)]
    pub hub: String,
    /// Certificates (PEM) that the hub's must chain to
    #[arg(long, value_name = "PEM", env = names::HUB_CA_ENV, hide_env_values = true)]
    pub hub_ca: String,
    /// The pod's token for the hub
    #[arg(long, value_name = "FILE", default_value_os_t = PathBuf::from(names::TOKEN_DIR).join(names::TOKEN_FILE))]
    pub token: PathBuf,
    /// The pod's uid, which the subject of its certificate authority bears
    #[arg(long, value_name = "UID", env = names::POD_UID_ENV)]
    pub pod_uid: Option<String>,
    /// Where agents connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15080")]
    pub listen: SocketAddr,
    /// Where agents connect that resolve LLM hosts to this pod; used with the capture layer dns
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:443")]
    pub listen_dns: SocketAddr,
    /// Serve /startupz, /readyz, /healthz and /metrics here
    #[arg(long, value_name = "IP:PORT", default_value = "[::]:15021")]
    pub admin: SocketAddr,
    /// Entrances that are open: connect, dns, base-url
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "connect")]
    pub capture: Vec<CaptureMode>,
    /// Serve AgentOpt's control plane on loopback, so that the pod's containers can open sessions of their own
    #[arg(long)]
    pub gateway: bool,
    /// An LLM host beyond the built-in table; SHAPE is openai (the default), anthropic, gemini, cohere, bedrock or mistral
    #[arg(long = "provider", value_name = "NAME=URL[,SHAPE]")]
    pub providers: Vec<String>,
    /// Where a host is really answered; with an IP address, SNI and Host stay the host's
    #[arg(long = "upstream", value_name = "HOST=URL")]
    pub upstreams: Vec<UpstreamRule>,
    /// PEM files with roots to trust upstream beside the system's
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Vec<PathBuf>,
    /// Roots (PEM) that the installation trusts upstream
    #[arg(long, value_name = "PEM", env = names::ROOTS_ENV, hide_env_values = true)]
    pub roots: Option<String>,
    /// Write the trial's input here
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Hand the trial's input over in this variable
    #[arg(long, value_name = "NAME")]
    pub input_env: Option<String>,
    /// Collect the trial's output here
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How long the agent may take, seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// The agent's command is wrapped, and tells its end
    #[arg(long)]
    pub wrapped: bool,
    /// The volume that is shared with the agent
    #[arg(long, value_name = "DIR", default_value = names::EXCHANGE_DIR)]
    pub exchange_dir: PathBuf,
    /// The volume with what the agent must trust
    #[arg(long, value_name = "DIR", default_value = names::TRUST_DIR)]
    pub trust_dir: PathBuf,
    /// The volume with records that the hub does not have yet
    #[arg(long, value_name = "DIR", default_value = names::SPOOL_DIR)]
    pub spool_dir: PathBuf,
    /// MiB of records that may wait for the hub before new calls wait too
    #[arg(long, value_name = "MIB", default_value_t = 160)]
    pub spool: u64,
    /// MiB of memory to stay within: what is read, kept and queued shrinks to it [default: the limit of the process's control group]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// MiB of answers kept in memory
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    pub cache_memory: u64,
    /// How long running calls may take to end after SIGTERM, milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    pub grace: u64,
    /// How long an upstream may take to begin its answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub first_byte_timeout: u64,
    /// How long an answer may fall silent, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub idle_timeout: u64,
}

impl PodArgs {
    /// Whether the pod runs a trial: something is handed over, or collected.
    pub fn is_trial(&self) -> bool {
        self.input.is_some() || self.input_env.is_some() || self.output.is_some()
    }

    /// Who is asked for the trial and told of its calls.
    ///
    /// # Errors
    /// The hub's URL or certificates cannot be used.
    pub fn hub(&self) -> Result<Hub, HubError> {
        Hub::new(&self.hub, &self.hub_ca, self.token.clone())
    }

    /// The file that records are written to.
    pub fn journal(&self) -> PathBuf {
        self.spool_dir.join("calls.db")
    }

    /// What the proxy is told.
    ///
    /// # Errors
    /// A provider is not written as it should be.
    pub fn config(&self, hub: Arc<Hub>) -> Result<Config, ArgsError> {
        let memory = allowed(self.memory);
        Ok(Config {
            hosts: hosts(&self.providers)?,
            upstreams: self.upstreams.clone(),
            upstream_ca: self.upstream_ca.clone(),
            upstream_ca_pem: self.roots.clone().filter(|pem| !pem.trim().is_empty()),
            authority_name: self.pod_uid.clone(),
            // Image and pod decide what the system's resolver would read; the name servers are the cluster's.
            resolv_conf: Some("/etc/resolv.conf".into()),
            cache: CacheConfig { path: None, memory_bytes: (self.cache_memory << 20).min(memory / 8), ..CacheConfig::default() },
            journal: Some(self.journal()),
            asked: self.gateway,
            capture: self.capture.clone(),
            limits: Limits {
                first_byte_timeout: Duration::from_secs(self.first_byte_timeout),
                idle_timeout: Duration::from_secs(self.idle_timeout),
                spool_bytes: Some(self.spool << 20),
                ..Limits::within(memory)
            },
            hub: Some(hub),
            ..Config::default()
        })
    }

    /// Whose calls they are while the hub cannot say: records take their trial from the pod's identity, and answers are shared with nobody.
    pub fn session_without_hub(&self) -> Session {
        Session { scope: format!("pod {}", self.pod_uid.as_deref().unwrap_or_default()), cache: CacheMode::ReadWrite, ..Session::default() }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn the_journal_is_asked_where_a_gateway_is_served() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        for (flags, asked) in [(&["--gateway"][..], true), (&[], false)] {
            let authority = format!("--hub-ca={authority}");
            let command = ["agentrun-sidecar", "pod", "--hub=https://hub", &authority];
            let Some(Command::Pod(args)) = Cli::try_parse_from(command.iter().chain(flags)).unwrap().command else { panic!("a pod's") };
            assert_eq!(args.config(Arc::new(args.hub().unwrap())).unwrap().asked, asked, "{flags:?}");
        }
    }
}
