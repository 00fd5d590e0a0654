//! What the injector is told beside the pod.

use std::str::FromStr;

use agentrun_crds::AgentRunSpec;
use agentrun_crds::network::{CaptureMode, ProviderShape, ProviderSpec, TrustSpec, UpstreamSpec};
use agentrun_llm::provider::Shape;
use serde::{Deserialize, Serialize};

use super::reason::Owner;

/// Everything that [`inject`](super::inject) needs.
#[derive(Clone, Debug)]
pub struct InjectConfig {
    /// What is the same for all pods of an installation.
    pub installation: Installation,
    /// The run's settings.
    pub settings: Settings,
    /// Whose pod it is.
    pub owner: Owner,
    /// How input and output are handed over; trials alone.
    pub exchange: Option<Exchange>,
}

/// What is the same for all pods of an installation.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The sidecar's image, whose entry point is the sidecar.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; Kubernetes' default without it.
    pub image_pull_policy: Option<String>,
    /// The hub, as in `https://agentrun-hub.agentrun-system.svc:8443`.
    pub hub_url: String,
    /// Certificates (PEM) that the hub's must chain to.
    pub hub_ca: String,
    /// Roots (PEM) that all sidecars trust upstream and give to agents; may be empty.
    pub roots: String,
    /// The sidecar's requests, which are also its limits.
    pub resources: Resources,
    /// Bytes of the volume of the sidecar's spool, as a Kubernetes quantity.
    pub spool_size: String,
    /// `RUST_LOG` of the sidecar; its own default without it.
    pub log: Option<String>,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            image: format!("ghcr.io/agentrun/agentrun-sidecar:{}", env!("CARGO_PKG_VERSION")),
            image_pull_policy: None,
            hub_url: "https://agentrun-hub.agentrun-system.svc:8443".to_owned(),
            hub_ca: String::new(),
            roots: String::new(),
            resources: Resources::default(),
            spool_size: "256Mi".to_owned(),
            log: None,
        }
    }
}

/// Requests and limits, as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU.
    pub cpu: String,
    /// Memory; the trust and exchange volumes count to it.
    pub memory: String,
    /// Disk: the spool and the log.
    pub ephemeral_storage: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu: "100m".to_owned(), memory: "128Mi".to_owned(), ephemeral_storage: "288Mi".to_owned() }
    }
}

/// How a run's calls are seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The capture layers.
    pub capture: Vec<CaptureMode>,
    /// LLM hosts beyond the built-in table.
    pub providers: Vec<ProviderSpec>,
    /// Where hosts are really answered.
    pub upstreams: Vec<UpstreamSpec>,
    /// Extra roots.
    pub trust: Option<TrustSpec>,
    /// What becomes of a pod's own proxy.
    pub proxy: ProxyPolicy,
    /// Whether Java gets its options.
    pub java: bool,
    /// Whether containers may open sessions of their own.
    pub gateway: bool,
}

impl Settings {
    /// For a labelled pod whose run nobody has described.
    pub fn plain() -> Self {
        Self {
            capture: vec![CaptureMode::Connect],
            providers: Vec::new(),
            upstreams: Vec::new(),
            trust: None,
            proxy: ProxyPolicy::Chain,
            java: false,
            gateway: false,
        }
    }

    /// A run's, for its own trials (`Deny`) or for labelled pods (`Chain`).
    pub fn of(spec: &AgentRunSpec, owner: Owner) -> Self {
        Self {
            capture: spec.capture.clone(),
            providers: spec.providers.clone(),
            upstreams: spec.upstreams.clone(),
            trust: spec.trust.clone(),
            proxy: if owner == Owner::Run { ProxyPolicy::Deny } else { ProxyPolicy::Chain },
            java: false,
            gateway: false,
        }
    }

    pub(crate) fn has(&self, layer: CaptureMode) -> bool {
        self.capture.contains(&layer)
    }
}

/// What becomes of a pod's own proxy variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyPolicy {
    /// The sidecar goes out through that proxy.
    Chain,
    /// The variables are replaced, and the sidecar goes out directly.
    Override,
    /// The pod is refused.
    Deny,
}

impl FromStr for ProxyPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "Chain" => Ok(Self::Chain),
            "Override" => Ok(Self::Override),
            "Deny" => Ok(Self::Deny),
            other => Err(format!("`{}` is no policy; use Chain, Override or Deny", other.escape_debug())),
        }
    }
}

/// A list of layers as the annotation and the command line have it: `Connect,Dns`.
///
/// # Errors
/// An unknown layer, or none.
pub fn parse_layers(text: &str) -> Result<Vec<CaptureMode>, String> {
    let mut layers = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let layer = match word.to_ascii_lowercase().as_str() {
            "connect" => CaptureMode::Connect,
            "dns" => CaptureMode::Dns,
            "baseurl" | "base-url" => CaptureMode::BaseUrl,
            _ => return Err(format!("`{}` is no capture layer; use Connect, Dns or BaseUrl", word.escape_debug())),
        };
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    if layers.is_empty() { Err("no capture layer is named; use Connect, Dns or BaseUrl".to_owned()) } else { Ok(layers) }
}

/// A layer as the sidecar's flag and the records have it.
pub(crate) fn layer_name(layer: CaptureMode) -> &'static str {
    match layer {
        CaptureMode::Connect => "connect",
        CaptureMode::Dns => "dns",
        CaptureMode::BaseUrl => "base-url",
    }
}

/// What calls at a provider's hosts look like.
pub fn shape_of(shape: ProviderShape) -> Shape {
    match shape {
        ProviderShape::OpenAI => Shape::OpenAi,
        ProviderShape::Anthropic => Shape::Anthropic,
        ProviderShape::Gemini => Shape::Gemini,
        ProviderShape::Cohere => Shape::Cohere,
        ProviderShape::Bedrock => Shape::Bedrock,
    }
}

/// The shape of that name.
pub(crate) fn shape_named(name: &str) -> Option<ProviderShape> {
    use ProviderShape::{Anthropic, Bedrock, Cohere, Gemini, OpenAI};
    [OpenAI, Anthropic, Gemini, Cohere, Bedrock].into_iter().find(|shape| shape_of(*shape).name() == name)
}

/// How a trial's input and output are handed over, as the sidecar is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Flags of the sidecar, see [`agentrun_protocol::pod`].
    pub flags: Vec<String>,
}
