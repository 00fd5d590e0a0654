//! The environment of a process whose calls are to be seen.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
};

use agentrun_llm::provider::Hosts;
use agentrun_protocol::base_url::{base_url_variables, bedrock_base_url_variables, through_proxy};

/// Variables whose value a client takes as its proxy.
const PROXY: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "grpc_proxy", "GRPC_PROXY"];
/// Variables that name all roots a client trusts.
const BUNDLE: [&str; 6] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
/// Variables that name roots a client trusts beside its own.
const EXTRA: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// Variables by name.
pub(crate) type Variables = BTreeMap<OsString, OsString>;

/// What a process needs to know of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Interception {
    /// Our authority's certificate, a PEM file.
    pub(crate) authority: PathBuf,
    /// The public roots and ours, a PEM file.
    pub(crate) bundle: PathBuf,
    /// Whether proxy variables are set.
    pub(crate) connect: bool,
    /// Whether base URLs are set.
    pub(crate) base_url: bool,
    /// Hosts on this machine whose calls are read, so that they must not bypass the proxy.
    pub(crate) local_hosts: Vec<String>,
}

impl Interception {
    /// The variables for a session at `address`, given what the process inherits.
    pub(crate) fn variables(&self, address: SocketAddr, inherited: &Variables) -> Variables {
        let mut variables = Variables::new();
        let mut set = |name: &str, value: OsString| variables.insert(name.into(), value);
        if self.connect {
            for name in PROXY {
                set(name, format!("http://{address}").into());
            }
            let direct = ["localhost", "127.0.0.1", "::1"].into_iter().filter(|host| !self.local_hosts.iter().any(|local| local == host));
            let direct = direct.collect::<Vec<_>>().join(",");
            set("NO_PROXY", direct.clone().into());
            set("no_proxy", direct.into());
            set("NODE_USE_ENV_PROXY", "1".into());
            for name in BUNDLE {
                set(name, self.bundle.clone().into());
            }
            for name in EXTRA {
                set(name, self.authority.clone().into());
            }
        }
        if self.base_url {
            let inherited = |name: &str| inherited.get(OsStr::new(name)).and_then(|value| value.to_str());
            let builtin = Hosts::builtin();
            // A pattern is no host that could be called.
            let hosts = builtin.names().into_iter().filter(|name| !name.contains('*'));
            let mut urls = base_url_variables(hosts, address);
            if let Some(region) = inherited("AWS_REGION").or_else(|| inherited("AWS_DEFAULT_REGION")) {
                urls.extend(bedrock_base_url_variables(&format!("bedrock-runtime.{region}.amazonaws.com"), address));
            }
            for (name, url) in urls {
                // One that was set before keeps its host and path.
                let url = inherited(name).filter(|before| !before.is_empty()).map_or(Some(url), |before| through_proxy(before, address));
                if let Some(url) = url {
                    set(name, url.into());
                }
            }
        }
        variables
    }
}

/// What this process would hand down.
pub(crate) fn inherited() -> Variables {
    env::vars_os().collect()
}

/// `over` wins.
pub(crate) fn overlaid(under: &Variables, over: Variables) -> Variables {
    let mut variables = under.clone();
    variables.extend(over);
    variables
}

/// Which of our variables an explicit environment keeps from being set: calls may go past the proxy then.
pub(crate) fn kept_from_proxy<'a>(explicit: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    explicit
        .filter(|name| PROXY.contains(name) || BUNDLE.contains(name) || EXTRA.contains(name) || matches!(*name, "NO_PROXY" | "no_proxy"))
        .collect()
}

/// The host of a base URL on this machine's own loopback, as `NO_PROXY` would name it.
pub(crate) fn local_host(base_url: &str) -> Option<String> {
    let authority = base_url.split_once("://")?.1.split('/').next()?;
    let names = [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")];
    names
        .into_iter()
        .find(|(written, _)| authority == *written || authority.starts_with(&format!("{written}:")))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interception() -> Interception {
        Interception {
            authority: "/state/ca.pem".into(),
            bundle: "/state/bundle.pem".into(),
            connect: true,
            base_url: false,
            local_hosts: Vec::new(),
        }
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
        variables.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);

    #[test]
    fn every_kind_of_client_finds_the_proxy_and_the_roots() {
        let variables = interception().variables(ADDRESS, &Variables::new());
        for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "grpc_proxy"] {
            assert_eq!(value(&variables, name), Some("http://127.0.0.1:4711"), "{name}");
        }
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO"] {
            assert_eq!(value(&variables, name), Some("/state/bundle.pem"), "{name}");
        }
        for name in ["NODE_EXTRA_CA_CERTS", "DENO_CERT"] {
            assert_eq!(value(&variables, name), Some("/state/ca.pem"), "{name}");
        }
        assert_eq!(value(&variables, "NODE_USE_ENV_PROXY"), Some("1"));
        assert_eq!(value(&variables, "NO_PROXY"), Some("localhost,127.0.0.1,::1"));
        assert_eq!(value(&variables, "SSL_CERT_DIR"), None);
        assert_eq!(value(&variables, "OPENAI_BASE_URL"), None);
    }

    #[test]
    fn a_local_host_that_is_read_does_not_bypass_the_proxy() {
        let interception = Interception { local_hosts: vec!["localhost".into()], ..interception() };
        let variables = interception.variables(ADDRESS, &Variables::new());
        assert_eq!(value(&variables, "no_proxy"), Some("127.0.0.1,::1"));
    }

    #[test]
    fn base_urls_lead_to_the_host_that_was_meant() {
        let interception = Interception { base_url: true, ..interception() };
        let inherited = [
            ("ANTHROPIC_BASE_URL", "https://gateway.example/team/a"),
            ("GOOGLE_GEMINI_BASE_URL", "http://localhost:1234"),
            ("AWS_REGION", "eu-west-1"),
        ];
        let inherited = inherited.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let variables = interception.variables(ADDRESS, &inherited);
        assert_eq!(value(&variables, "OPENAI_BASE_URL"), Some("http://127.0.0.1:4711/api.openai.com/v1"));
        assert_eq!(value(&variables, "ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:4711/gateway.example/team/a"));
        assert_eq!(value(&variables, "GOOGLE_GEMINI_BASE_URL"), None);
        assert_eq!(value(&variables, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"), None, "a signature covers the host that is called");
        assert_eq!(value(&variables, "ANTHROPIC_BEDROCK_BASE_URL"), Some("http://127.0.0.1:4711/bedrock-runtime.eu-west-1.amazonaws.com"));
    }

    #[test]
    fn a_base_url_on_this_machine_is_known_as_such() {
        let table = [
            ("http://localhost:11434/v1", Some("localhost")),
            ("http://127.0.0.1", Some("127.0.0.1")),
            ("http://[::1]:8000/v1", Some("::1")),
            ("https://localhost.example/v1", None),
            ("https://llm.example", None),
        ];
        for (url, expected) in table {
            assert_eq!(local_host(url).as_deref(), expected, "{url}");
        }
    }
}
