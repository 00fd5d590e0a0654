//! The environment of the pod's containers: what we set, and what becomes of what the author wrote.

use agentrun_crds::network::CaptureMode;
use agentrun_llm::provider::Hosts;
use agentrun_protocol::base_url::{base_url_variables, bedrock_base_url_variables, through_proxy};
use agentrun_protocol::names::{BUNDLE_FILE, CA_FILE, GATEWAY_PORT, PHP_DIR, PROXY_PORT, TRUST_DIR, TRUSTSTORE_FILE, WGETRC_FILE};
use serde_json::{Value, json};

use super::capture;
use super::config::{ProxyPolicy, Settings};
use super::pod::{Container, text};
use super::proxy::{self, ADDRESS};

/// Variables that name all roots a client trusts.
const BUNDLE: [&str; 6] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"];
/// Variables that name roots a client trusts beside its own.
const EXTRA: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// Where AgentOpt's client opens its sessions.
const GATEWAY_URL: &str = "AGENTOPT_GATEWAY_URL";
/// What every JVM reads; it says so on stderr, hence by request alone.
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// What becomes of a variable that the author has set otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Ours takes its place, and this is said: clients must trust the sidecar.
    Trust,
    /// Ours takes its place: the author's is the sidecar's way out, or overridden by policy.
    Proxy,
    /// The author's stays.
    Yield,
    /// The author's stays, and is led through the sidecar where it names a host that is read.
    BaseUrl,
    /// Ours is appended to the author's.
    Append,
}

struct Wanted {
    name: String,
    value: String,
    rule: Rule,
}

/// What is done to one container.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Edits {
    /// Index in `env`, and the variable that takes that place.
    pub(super) replaced: Vec<(usize, Value)>,
    /// Put before the author's, so that those may refer to them.
    pub(super) added: Vec<Value>,
    /// Names of the author's variables that no longer count.
    pub(super) overridden: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// What is to be done to a container's environment.
pub(super) fn edits(container: &Container<'_>, settings: &Settings, hosts: &Hosts) -> Edits {
    let mut edits = Edits::default();
    let wanted = wanted(container, settings, hosts, &mut edits);
    for wanted in wanted {
        edits.merge(container, &wanted, hosts);
    }
    let trusted: Vec<&str> =
        edits.overridden.iter().map(String::as_str).filter(|name| BUNDLE.contains(name) || EXTRA.contains(name)).collect();
    if !trusted.is_empty() {
        let warning = format!("{}: the sidecar must be trusted: overridden are {}", container.name, trusted.join(", "));
        edits.warnings.push(warning);
    }
    edits
}

impl Edits {
    fn merge(&mut self, container: &Container<'_>, wanted: &Wanted, hosts: &Hosts) {
        let mut found = false;
        for (index, variable) in container.env().iter().enumerate().filter(|(_, variable)| text(variable, "name") == wanted.name) {
            found = true;
            let elsewhere = proxy::from_elsewhere(variable);
            let value = text(variable, "value");
            if !elsewhere && value == wanted.value {
                continue;
            }
            if let Some(value) = self.outcome(container, wanted, value, elsewhere, hosts) {
                self.replaced.push((index, json!({"name": wanted.name, "value": value})));
                if !self.overridden.contains(&wanted.name) {
                    self.overridden.push(wanted.name.clone());
                }
            }
        }
        if !found {
            self.added.push(json!({"name": wanted.name, "value": wanted.value}));
        }
    }

    /// The value that takes the place of the author's, if any does.
    fn outcome(&mut self, container: &Container<'_>, wanted: &Wanted, value: &str, elsewhere: bool, hosts: &Hosts) -> Option<String> {
        let (container, name) = (container.name, wanted.name.as_str());
        match wanted.rule {
            Rule::Trust | Rule::Proxy => Some(wanted.value.clone()),
            Rule::Yield => {
                let lost = match name {
                    "NODE_USE_ENV_PROXY" => Some("calls of Node's fetch may not be seen"),
                    GATEWAY_URL => Some("its sessions are opened there, and not here"),
                    _ => None,
                };
                self.warnings.extend(lost.map(|lost| format!("{container}: {name} is kept: {lost}")));
                None
            }
            Rule::BaseUrl => {
                let led = (!elsewhere).then(|| led_through(value, hosts)).flatten();
                if led.is_none() && !value.starts_with(&format!("{}/", proxy::url())) {
                    self.warnings.push(format!("{container}: {name} is kept: calls to it may not be seen"));
                }
                led
            }
            Rule::Append if elsewhere => {
                self.warnings.push(format!("{container}: {name} comes from elsewhere and is kept: Java will not trust the sidecar"));
                None
            }
            Rule::Append => (!value.contains(&wanted.value)).then(|| format!("{value} {}", wanted.value)),
        }
    }
}

fn wanted(container: &Container<'_>, settings: &Settings, hosts: &Hosts, edits: &mut Edits) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut want = |name: &str, value: String, rule: Rule| wanted.push(Wanted { name: name.to_owned(), value, rule });
    let decrypted = settings.has(CaptureMode::Connect) || settings.has(CaptureMode::Dns);
    if settings.has(CaptureMode::Connect) {
        proxy::PROXY.iter().for_each(|name| want(name, proxy::url(), Rule::Proxy));
        let (exceptions, hidden) = proxy::exceptions(container.env(), hosts);
        for name in ["NO_PROXY", "no_proxy"] {
            want(name, exceptions.clone(), Rule::Proxy);
        }
        if !hidden.is_empty() {
            edits.warnings.push(format!("{}: NO_PROXY no longer names {}: LLM calls there are seen", container.name, hidden.join(",")));
        }
        want("NODE_USE_ENV_PROXY", "1".to_owned(), Rule::Yield);
        let elsewhere = container.value.get("envFrom").and_then(Value::as_array).is_some_and(|sources| !sources.is_empty());
        if elsewhere && settings.proxy != ProxyPolicy::Override {
            edits.warnings.push(format!("{}: a proxy that comes by envFrom is not seen here, and would be overridden", container.name));
        }
    }
    if decrypted {
        let file = |name: &str| format!("{TRUST_DIR}/{name}");
        BUNDLE.iter().for_each(|name| want(name, file(BUNDLE_FILE), Rule::Trust));
        EXTRA.iter().for_each(|name| want(name, file(CA_FILE), Rule::Trust));
        want("PHP_INI_SCAN_DIR", format!(":{TRUST_DIR}/{PHP_DIR}"), Rule::Yield);
        want("WGETRC", file(WGETRC_FILE), Rule::Yield);
        if settings.java {
            want(JAVA, java_options(settings.has(CaptureMode::Connect)), Rule::Append);
        }
    }
    if settings.gateway {
        want(GATEWAY_URL, format!("http://127.0.0.1:{GATEWAY_PORT}"), Rule::Yield);
    }
    if settings.has(CaptureMode::BaseUrl) {
        for (name, url) in base_urls(container, settings, hosts) {
            want(name, url, Rule::BaseUrl);
        }
    }
    wanted
}

fn java_options(proxied: bool) -> String {
    let trust = format!("-Djavax.net.ssl.trustStore={TRUST_DIR}/{TRUSTSTORE_FILE} -Djavax.net.ssl.trustStorePassword=changeit");
    if !proxied {
        return trust;
    }
    let proxy =
        format!("-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={PROXY_PORT} -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={PROXY_PORT}");
    format!("{trust} {proxy} -Dhttp.nonProxyHosts=localhost|127.0.0.1|*.svc|*.cluster.local")
}

fn base_urls(container: &Container<'_>, settings: &Settings, hosts: &Hosts) -> Vec<(&'static str, String)> {
    let named = capture::named_hosts(&[*container], settings, hosts);
    // Vertex AI's global host is meant only where it is named: its variables would send a region's calls there.
    let fixed = hosts.names().into_iter().filter(|name| !name.contains('*') && *name != "aiplatform.googleapis.com");
    let mut variables = base_url_variables(fixed.chain(named.iter().map(String::as_str)), ADDRESS);
    let bearer = container.env().iter().any(|variable| text(variable, "name") == "AWS_BEARER_TOKEN_BEDROCK");
    if let Some(host) = named.iter().find(|host| bearer && host.starts_with("bedrock-runtime.")) {
        variables.extend(bedrock_base_url_variables(host, ADDRESS));
    }
    variables
}

/// An author's base URL, led through the sidecar where the sidecar reads that host.
fn led_through(url: &str, hosts: &Hosts) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let provider = hosts.find(authority)?;
    match (scheme, provider.plain) {
        ("https", false) => through_proxy(url, ADDRESS),
        ("http", true) => through_proxy(&format!("https://{rest}"), ADDRESS),
        _ => None,
    }
}
