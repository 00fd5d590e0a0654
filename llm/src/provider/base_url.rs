//! A provider's base URL, and what is wrong with one that names no host.

/// The longest name DNS allows.
pub(super) const MAX_HOST_BYTES: usize = 253;

/// Why a base URL cannot name a provider's host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The scheme is missing, so host and path cannot be told apart.
    #[error("base URL {url:?} of provider {name:?} has no scheme: write https://HOST or http://HOST")]
    NoScheme {
        /// The provider's name as given.
        name: String,
        /// The URL as given.
        url: String,
    },
    /// The URL has a scheme and no host.
    #[error("base URL {url:?} of provider {name:?} names no host")]
    NoHost {
        /// The provider's name as given.
        name: String,
        /// The URL as given.
        url: String,
    },
    /// The host has characters no host name has.
    #[error("base URL {url:?} of provider {name:?} has the host {host:?}, which is not a host name or IP address")]
    BadHost {
        /// The provider's name as given.
        name: String,
        /// The URL as given.
        url: String,
        /// What stands where the host should be.
        host: String,
    },
    /// The provider's name is blank.
    #[error("the provider at {url:?} has an empty name")]
    NoName {
        /// The URL as given.
        url: String,
    },
}

/// A provider's base URL, apart.
pub(super) struct BaseUrl {
    /// Whether it is `http` and not `https`.
    pub(super) plain: bool,
    /// In lower case, without a trailing dot.
    pub(super) host: String,
    /// Where it names one.
    pub(super) port: Option<u16>,
    /// Without a trailing slash.
    pub(super) path: String,
}

impl BaseUrl {
    /// Takes the URL of the provider `name` apart.
    pub(super) fn of(name: &str, base_url: &str) -> Result<Self, HostError> {
        let (name_owned, url) = (name.trim().to_owned(), base_url.to_owned());
        if name_owned.is_empty() {
            return Err(HostError::NoName { url });
        }
        let trimmed = base_url.trim();
        let scheme_end = trimmed.find("://").filter(|&end| {
            let scheme = &trimmed[..end];
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        });
        let Some(scheme_end) = scheme_end else { return Err(HostError::NoScheme { name: name_owned, url }) };
        let rest = &trimmed[scheme_end + 3..];
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = without_port(authority);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.is_empty() {
            return Err(HostError::NoHost { name: name_owned, url });
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.len() > MAX_HOST_BYTES || !host.bytes().all(known) || (host.contains(':') && !host.starts_with('[')) {
            return Err(HostError::BadHost { name: name_owned, url, host });
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let plain = trimmed[..scheme_end].eq_ignore_ascii_case("http");
        let port = authority[without_port(authority).len()..].strip_prefix(':').and_then(|port| port.parse().ok());
        Ok(Self { plain, host, port, path: path.trim_end_matches('/').to_owned() })
    }
}

/// `host` of `host:port`; an IPv6 address keeps its brackets.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::{Hosts, Shape};

    #[test]
    fn refuses_base_urls_that_name_no_host() {
        let mut hosts = Hosts::builtin();
        let mut refused = |name: &str, url: &str| hosts.add(name, url, Shape::OpenAi).unwrap_err().to_string();
        assert!(refused("p", "models.internal:8000/v1").contains("has no scheme"));
        assert!(refused("p", "ftp://models.internal").contains("has no scheme"));
        assert!(refused("p", "https:///v1").contains("names no host"));
        assert!(refused("p", "https://a b/v1").contains("not a host name"));
        assert!(refused("p", "https://::1/v1").contains("not a host name"));
        assert!(refused(" ", "https://a/v1").contains("empty name"));
    }
}
