//! TLS towards upstream.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// A client configuration that checks certificates against `roots`. ALPN is set by the connector.
pub(crate) fn config(provider: Arc<CryptoProvider>, roots: Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
