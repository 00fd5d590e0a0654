//! How calls are seen, answered and paid.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::ConfigMapKey;

/// How answers are stored and reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CacheSpec {
    /// What the cache may do.
    #[serde(default)]
    pub mode: CacheMode,
    /// Who shares its entries.
    #[serde(default)]
    pub scope: CacheScope,
}

/// `ReadWrite`: answer from it and fill it. `ReadOnly`: answer, do not fill. `Refresh`: fill, do not answer. `ReplayOnly`: a
/// miss is an error, no network. `Off`: neither (write it in quotes for tools that read YAML 1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["ReadWrite", "ReadOnly", "Refresh", "ReplayOnly", "Off"]), inline)]
pub enum CacheMode {
    /// Answer from it and fill it.
    #[default]
    ReadWrite,
    /// Answer from it, do not fill it.
    ReadOnly,
    /// Fill it, do not answer from it.
    Refresh,
    /// A miss is an error; nothing goes out.
    ReplayOnly,
    /// Neither.
    Off,
}

/// `Run`: this run alone. `Namespace`: all runs of the namespace. `Shared`: all runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["Run", "Namespace", "Shared"]), inline)]
pub enum CacheScope {
    /// This run alone.
    #[default]
    Run,
    /// All runs of the namespace.
    Namespace,
    /// All runs.
    Shared,
}

/// `Connect`: the proxy environment. `Dns`: port 443 on loopback, in pods. `BaseUrl`: the SDKs' base-URL variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["Connect", "Dns", "BaseUrl"]), inline)]
pub enum CaptureMode {
    /// The proxy environment.
    Connect,
    /// Port 443 on loopback.
    Dns,
    /// The SDKs' base-URL variables.
    BaseUrl,
}

/// An LLM host beyond the built-in table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderSpec {
    /// What records call the provider.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"))]
    #[schemars(extend("x-rule" = "lower-case letters, digits, `-` and `_`, beginning and ending with a letter or digit"))]
    pub name: String,
    /// Where it answers, as an SDK's base URL.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    #[schemars(extend("x-rule" = "a URL such as https://llm.internal.example/v1, without user name, query or fragment"))]
    pub base_url: String,
    /// Which provider's requests and answers it speaks.
    #[serde(default)]
    pub shape: ProviderShape,
}

/// Which provider's requests and answers a host speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("type" = "string", "enum" = ["OpenAI", "Anthropic", "Gemini", "Cohere", "Bedrock"]), inline)]
pub enum ProviderShape {
    /// OpenAI's chat completions and their kin.
    #[default]
    OpenAI,
    /// Anthropic's messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// Cohere's chat.
    Cohere,
    /// AWS Bedrock's Converse and InvokeModel.
    Bedrock,
}

/// Where a host is really answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamSpec {
    /// The host as agents call it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
    #[schemars(extend("x-rule" = "a host name such as api.openai.com, without scheme, port or path"))]
    pub host: String,
    /// Where its calls are sent.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    #[schemars(extend("x-rule" = "a URL such as http://llm-gateway.platform.svc:4000, without user name, query or fragment"))]
    pub url: String,
}

/// Extra trusted roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustSpec {
    /// A key of a ConfigMap that holds certificates as PEM. Needs a cluster; `agentrun run` takes `--upstream-ca`.
    pub config_map: ConfigMapKey,
}
