//! What both naive peers are made of: the authority, the way upstream, the hosts that are read.
use crate::{Flags, roots};
use hudsucker::{
    certificate_authority::RcgenAuthority,
    hyper_util::client::legacy::connect::HttpConnector,
    rcgen::{Issuer, KeyPair},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use std::sync::Arc;
use tokio_rustls::rustls::{ClientConfig, crypto::aws_lc_rs};

/// From `--ca-cert` and `--ca-key`.
pub fn authority(flags: &Flags) -> RcgenAuthority {
    let read = |name: &str| {
        let path = flags.need(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {path}: {error}"))
    };
    let key = KeyPair::from_pem(&read("ca-key")).expect("--ca-key is a PEM key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca-cert"), key).expect("--ca-cert is a PEM certificate");
    RcgenAuthority::new(issuer, 1000, aws_lc_rs::default_provider())
}

/// HTTP/1.1 upstream, trusting `--upstream-ca`.
pub fn connector(flags: &Flags, nodelay: bool) -> HttpsConnector<HttpConnector> {
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots(&flags.need("upstream-ca")))
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(nodelay);
    HttpsConnectorBuilder::new().with_tls_config(client).https_or_http().enable_http1().wrap_connector(tcp)
}

/// `--hosts`, those whose connections are read.
pub fn hosts(flags: &Flags) -> Arc<Vec<String>> {
    Arc::new(flags.text("hosts", "api.openai.com,api.anthropic.com").split(',').map(str::to_owned).collect())
}
