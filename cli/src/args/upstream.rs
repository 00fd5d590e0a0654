//! Where calls go.

use std::{path::PathBuf, str::FromStr};

use agentrun_llm::provider::{Hosts, NoShape, Shape};
use agentrun_sidecar::UpstreamRule;
use clap::Args;

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
        let shape: Shape = shape.parse().map_err(|error: NoShape| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
