//! What the operator is told when it is started: by flags, or by the environment variables that `--help` names.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Who makes the certificates of the webhook and of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CertificateMode {
    /// The operator.
    Auto,
    /// They come in Secrets, from cert-manager or from the user.
    Secret,
    /// There is no webhook, and the hub is known by --hub-ca-file: an operator outside the cluster, on trial.
    None,
}

/// Makes AgentRuns into Jobs, and puts the sidecar into pods.
#[derive(Debug, Clone, Parser)]
#[command(name = "agentrun-operator", version, about)]
pub struct Args {
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The operator's own namespace: its Secrets and its Lease are there.
    #[arg(long, env = "AGENTRUN_NAMESPACE", default_value = "agentrun-system")]
    pub namespace: String,
    /// The name of this replica, unique among them; a random one without it.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// Watch this namespace alone; all of them without it.
    #[arg(long, env = "AGENTRUN_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Where admission is served, over TLS.
    #[arg(long, env = "AGENTRUN_WEBHOOK_ADDRESS", default_value = "0.0.0.0:9443")]
    pub webhook_address: std::net::SocketAddr,
    /// Who makes the certificates.
    #[arg(long, env = "AGENTRUN_CERTIFICATES", value_enum, default_value = "auto")]
    pub certificates: CertificateMode,
    /// The Secret with the webhook's certificate.
    #[arg(long, env = "AGENTRUN_WEBHOOK_SECRET", default_value = "agentrun-webhook-tls")]
    pub webhook_secret: String,
    /// The Secret with the hub's certificate.
    #[arg(long, env = "AGENTRUN_HUB_SECRET", default_value = "agentrun-hub-tls")]
    pub hub_secret: String,
    /// Namespaces whose runs may share stored answers (`cache.scope: Shared`), comma-separated; others are warned.
    #[arg(long, env = "AGENTRUN_SHARED_CACHE_NAMESPACES", value_delimiter = ',')]
    pub shared_cache_namespaces: Vec<String>,

    /// The hub, as pods reach it.
    #[arg(long, env = "AGENTRUN_HUB_URL", default_value = "https://agentrun-hub.agentrun-system.svc:8443")]
    pub hub_url: String,
    /// The hub, as the operator reaches it; --hub-url without it.
    #[arg(long, env = "AGENTRUN_HUB_ADDRESS")]
    pub hub_address: Option<String>,
    /// The name that the hub's certificate bears; the host of the address without it.
    #[arg(long, env = "AGENTRUN_HUB_SERVER_NAME")]
    pub hub_server_name: Option<String>,
    /// A file with certificates (PEM) that the hub's must chain to; those that --certificates says without it.
    #[arg(long, env = "AGENTRUN_HUB_CA_FILE", required_if_eq("certificates", "none"))]
    pub hub_ca_file: Option<PathBuf>,
    /// The file with the token for the hub. It is read again as it changes.
    #[arg(long, env = "AGENTRUN_HUB_TOKEN_FILE", default_value = "/var/run/secrets/agentrun.dev/token")]
    pub hub_token_file: PathBuf,
    /// Seconds after which a deleted AgentRun goes even if its data could not be removed from the hub.
    #[arg(long, env = "AGENTRUN_HUB_PATIENCE_SECONDS", default_value_t = 120)]
    pub hub_patience_seconds: u64,

    /// The sidecar's image, as pods name it.
    #[arg(long, env = "AGENTRUN_SIDECAR_IMAGE", default_value = concat!("ghcr.io/agentrun/agentrun-sidecar:", env!("CARGO_PKG_VERSION")))]
    pub sidecar_image: String,
    /// The sidecar's imagePullPolicy: Always, IfNotPresent or Never; Kubernetes' default without it.
    #[arg(long, env = "AGENTRUN_SIDECAR_PULL_POLICY")]
    pub sidecar_pull_policy: Option<String>,
    /// CPU of the sidecar, request and limit.
    #[arg(long, env = "AGENTRUN_SIDECAR_CPU", default_value = "100m")]
    pub sidecar_cpu: String,
    /// Memory of the sidecar, request and limit.
    #[arg(long, env = "AGENTRUN_SIDECAR_MEMORY", default_value = "128Mi")]
    pub sidecar_memory: String,
    /// Disk of the sidecar, request and limit.
    #[arg(long, env = "AGENTRUN_SIDECAR_STORAGE", default_value = "288Mi")]
    pub sidecar_storage: String,
    /// Size of the volume of the sidecar's spool; records may take all of it but 96 MiB, five eighths where it is smaller than 256 MiB.
    #[arg(long, env = "AGENTRUN_SIDECAR_SPOOL", default_value = "256Mi")]
    pub sidecar_spool: String,
    /// RUST_LOG of the sidecar.
    #[arg(long, env = "AGENTRUN_SIDECAR_LOG")]
    pub sidecar_log: Option<String>,
    /// A file with roots (PEM) that all sidecars trust upstream, and that agents are given.
    #[arg(long, env = "AGENTRUN_ROOTS_FILE")]
    pub roots_file: Option<PathBuf>,

    /// Seconds that a pod may wait before it is given up, and counts as a try.
    #[arg(long, env = "AGENTRUN_PENDING_SECONDS", default_value_t = 600)]
    pub pending_seconds: u64,
    /// Seconds that a pod may wait for its image.
    #[arg(long, env = "AGENTRUN_IMAGE_SECONDS", default_value_t = 120)]
    pub image_seconds: u64,
    /// AgentRuns looked at at once.
    #[arg(long, env = "AGENTRUN_CONCURRENCY", default_value_t = 8)]
    pub concurrency: u16,
    /// Seconds after which another replica takes the lead from one that is silent.
    #[arg(long, env = "AGENTRUN_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=300))]
    pub lease_seconds: u16,

    /// Where health, readiness and metrics are served, over plain HTTP.
    #[arg(long, env = "AGENTRUN_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    pub metrics_address: std::net::SocketAddr,
    /// A collector's base URL, as in http://collector:4318: traces are sent there by OTLP over HTTP. None are made without it.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = crate::traces::endpoint)]
    pub otlp_endpoint: Option<http::Uri>,
    /// Log lines as JSON.
    #[arg(long, env = "AGENTRUN_LOG_JSON")]
    pub log_json: bool,
}

/// What the program can do beside operating.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ask the API server for a labelled pod, without making it; fail unless the sidecar is in it.
    SelfTest {
        /// The namespace that the pod is asked for in.
        #[arg(long, default_value = "default")]
        namespace: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_has_its_variable_and_its_words() {
        let command = Args::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
            assert!(argument.get_env().is_some() && argument.get_help().is_some(), "{argument:?}");
        }
    }
}
