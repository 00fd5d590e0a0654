//! Which hosts are LLM hosts, whose they are, and what their paths mean.

mod base_url;
mod endpoint;
mod format;
mod framing;
mod hosts;
mod plain;

pub(crate) mod anthropic;
pub(crate) mod bedrock;
pub(crate) mod chat;
pub(crate) mod cohere;
pub(crate) mod gemini;
pub(crate) mod ollama;
pub(crate) mod responses;

use std::collections::HashMap;
use std::str::FromStr;

pub use base_url::HostError;
use base_url::{BaseUrl, MAX_HOST_BYTES, without_port};
pub use endpoint::Endpoint;
pub(crate) use endpoint::split_query;
pub use format::Format;
pub(crate) use format::path_model_span;
pub use framing::Framing;
use plain::Plain;

/// The family of request and error shapes that a host speaks.
///
/// The exact dialect of one call is its [`Format`], which the path decides: an OpenAI-shaped host can carry Anthropic
/// messages under `/anthropic/v1/messages`. The shape settles paths that are ambiguous, and how errors are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// OpenAI and the many hosts compatible with it.
    OpenAi,
    /// Anthropic's messages API.
    Anthropic,
    /// Google's Gemini API, Vertex AI and Code Assist.
    Gemini,
    /// Cohere v1 and v2.
    Cohere,
    /// Amazon Bedrock's runtime.
    Bedrock,
    /// Mistral: OpenAI's chat shape, whose streams always carry usage and which refuses unknown members.
    Mistral,
}

impl Shape {
    /// The name in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
            Self::Mistral => "mistral",
        }
    }
}

/// There is no shape of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no shape `{0}`; use openai, anthropic, gemini, cohere, bedrock or mistral")]
pub struct NoShape(String);

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(name: &str) -> Result<Self, NoShape> {
        let all = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Cohere, Self::Bedrock, Self::Mistral];
        all.into_iter().find(|shape| shape.name() == name).ok_or_else(|| NoShape(name.to_owned()))
    }
}

/// Who answers at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The provider's name as genai-prices has it (`openai`, `aws`, `x-ai`), or the name given to [`Hosts::add`].
    pub name: String,
    /// The shapes it speaks.
    pub shape: Shape,
    /// The path of the base URL it was added with, without a trailing slash; empty for built-in hosts.
    pub base_path: String,
    /// Whether that base URL is `http` and not `https`.
    pub plain: bool,
    /// The port of that base URL, where it names one.
    pub port: Option<u16>,
    /// Parts of paths that are chat calls here although no dialect has them.
    pub paths: Vec<String>,
}

impl Provider {
    /// One without a base URL.
    fn bare(name: &str, shape: Shape) -> Self {
        Self { name: name.to_owned(), shape, base_path: String::new(), plain: false, port: None, paths: Vec::new() }
    }
}

/// Which hosts are LLM hosts.
///
/// Exact names are one hash lookup; the patterns, of which there are few, are tried after it. A host that is not in the
/// table is not an LLM host: its traffic is tunnelled unread. Ollama, vLLM and other self-hosted servers have no host
/// name of their own and come by [`Hosts::add`].
#[derive(Clone, Debug)]
pub struct Hosts {
    exact: HashMap<String, Provider>,
    patterns: Vec<(&'static str, Provider)>,
    plain: Option<Plain>,
}

impl Hosts {
    /// The table of known hosts.
    pub fn builtin() -> Self {
        let mut hosts = Self { exact: HashMap::new(), patterns: Vec::new(), plain: None };
        for &(host, name, shape) in hosts::TABLE {
            let provider = Provider::bare(name, shape);
            if host.contains('*') {
                hosts.patterns.push((host, provider));
            } else {
                hosts.exact.insert(host.to_owned(), provider);
            }
        }
        hosts
    }

    /// Adds the host of `base_url`, or replaces who answers there. Scheme and port play no part in matching.
    ///
    /// # Errors
    /// When `base_url` has no scheme or no host, or `name` is blank.
    pub fn add(&mut self, name: &str, base_url: &str, shape: Shape) -> Result<(), HostError> {
        self.add_with_paths(name, base_url, shape, Vec::new())
    }

    /// As [`Hosts::add`]; a POST whose path has one of `paths` in it is a chat call, whatever else the path says.
    ///
    /// # Errors
    /// As [`Hosts::add`].
    pub fn add_with_paths(&mut self, name: &str, base_url: &str, shape: Shape, paths: Vec<String>) -> Result<(), HostError> {
        let BaseUrl { plain, host, port, path } = BaseUrl::of(name, base_url)?;
        let provider = Provider { base_path: path, plain, port, paths, ..Provider::bare(name.trim(), shape) };
        if let Some(plain) = &mut self.plain {
            plain.add(provider.clone());
        }
        self.exact.insert(host, provider);
        Ok(())
    }

    /// How many hosts and patterns there are.
    pub fn count(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }

    /// Lets [`Hosts::find_plain`] find something: calls that anybody on their way can read are then read whomever they are for, if
    /// their paths are those of LLM calls.
    #[must_use]
    pub fn with_plain(mut self) -> Self {
        self.plain = Some(Plain::default());
        self
    }

    /// Who answers a plain-text POST to `path` at a host that is not in the table.
    pub fn find_plain(&self, path: &str) -> Option<&Provider> {
        self.plain.as_ref()?.find(split_query(path).0)
    }

    /// All names and patterns (`*` is one or more characters inside a label), sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.exact.keys().map(String::as_str).chain(self.patterns.iter().map(|(pattern, _)| *pattern)).collect();
        names.sort_unstable();
        names
    }

    /// Who answers at `host`: case does not matter, a trailing dot and a port are ignored.
    pub fn find(&self, host: &str) -> Option<&Provider> {
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() || host.len() > MAX_HOST_BYTES {
            return None;
        }
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_lower(&host.to_ascii_lowercase());
        }
        self.find_lower(host)
    }

    fn find_lower(&self, host: &str) -> Option<&Provider> {
        self.exact
            .get(host)
            .or_else(|| self.patterns.iter().find(|(pattern, _)| matches_pattern(pattern, host)).map(|(_, provider)| provider))
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::builtin()
    }
}

/// Whether `host` has the labels of `pattern`, in which `*` stands for one or more characters inside one label.
fn matches_pattern(pattern: &str, host: &str) -> bool {
    let mut labels = host.split('.');
    for wanted in pattern.split('.') {
        let Some(label) = labels.next() else { return false };
        let matches = match wanted.split_once('*') {
            None => wanted == label,
            Some((before, after)) => label.len() > before.len() + after.len() && label.starts_with(before) && label.ends_with(after),
        };
        if !matches {
            return false;
        }
    }
    labels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_hosts_however_they_are_written() {
        let hosts = Hosts::builtin();
        let cases = [
            ("api.openai.com", Some("openai")),
            ("API.OpenAI.com.", Some("openai")),
            ("api.openai.com:443", Some("openai")),
            ("eu.api.openai.com", Some("openai")),
            ("evil-api.openai.com.example.org", None),
            ("openai.com", None),
            ("us-central1-aiplatform.googleapis.com", Some("google")),
            ("-aiplatform.googleapis.com", None),
            ("bedrock-runtime.eu-west-1.amazonaws.com", Some("aws")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("aws")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("aws")),
            ("bedrock-runtime.a.b.amazonaws.com", None),
            ("bedrock.us-east-1.amazonaws.com", None),
            ("contoso.openai.azure.com", Some("azure")),
            ("openai.azure.com", None),
            ("", None),
            (".", None),
            (":443", None),
        ];
        for (host, name) in cases {
            assert_eq!(hosts.find(host).map(|provider| provider.name.as_str()), name, "{host:?}");
        }
        assert_eq!(hosts.find(&"a.".repeat(100_000)), None);
    }

    #[test]
    fn added_hosts_match_without_port_and_path() {
        let mut hosts = Hosts::builtin();
        hosts.add("vllm", "http://Models.Internal:8000/v1/", Shape::OpenAi).unwrap();
        let found = hosts.find("models.internal").unwrap();
        assert_eq!((found.name.as_str(), found.base_path.as_str(), found.plain, found.port), ("vllm", "/v1", true, Some(8000)));
        hosts.add("six", "http://[::1]:11434", Shape::OpenAi).unwrap();
        assert_eq!(hosts.find("[::1]:80").unwrap().name, "six");
        hosts.add("other", "https://api.openai.com", Shape::OpenAi).unwrap();
        assert_eq!(hosts.find("api.openai.com").unwrap().name, "other");
    }
}
