//! A server's certificate as a Secret holds it: read, and looked at as its clients would.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::authority::{CERTIFICATE, Data, KEY, TRUSTED};
use super::pem;

/// Why a server's Secret is of no use.
#[derive(Debug, Error)]
pub enum LeafError {
    /// The Secret lacks a part.
    #[error("the Secret has no `{0}`")]
    Missing(&'static str),
    /// A part is no PEM.
    #[error("reading `{0}` of the Secret")]
    Pem(&'static str, #[source] pem::PemError),
    /// The key is none.
    #[error("reading `tls.key` of the Secret: {0}")]
    Key(String),
    /// Key and certificate do not belong together.
    #[error("using the Secret's certificate and key")]
    Pair(#[source] rustls::Error),
}

/// A server's certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// What the server answers handshakes with.
    pub(crate) key: Arc<CertifiedKey>,
    chain: Vec<CertificateDer<'static>>,
    /// What the Secret says that others must trust.
    pub(crate) trusted: Vec<Vec<u8>>,
    not_before: i64,
    /// When the certificate ends, seconds since 1970.
    pub(crate) not_after: i64,
}

impl Leaf {
    /// Reads one from its Secret.
    pub(crate) fn read(data: &Data, provider: &CryptoProvider) -> Result<Self, LeafError> {
        let certificates = |name: &'static str| {
            let text = data.get(name).ok_or(LeafError::Missing(name))?;
            pem::certificates(text).map_err(|error| LeafError::Pem(name, error))
        };
        let chain: Vec<CertificateDer<'static>> = certificates(CERTIFICATE)?.into_iter().map(CertificateDer::from).collect();
        let (not_before, not_after) = pem::validity(&chain[0]).ok_or(LeafError::Missing(CERTIFICATE))?;
        let key = data.get(KEY).ok_or(LeafError::Missing(KEY))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| LeafError::Key(error.to_string()))?;
        let key = CertifiedKey::from_der(chain.clone(), key, provider).map_err(LeafError::Pair)?;
        // A certificate from elsewhere may be signed by a public root, and then its Secret names none.
        let trusted = if data.contains_key(TRUSTED) { certificates(TRUSTED)? } else { Vec::new() };
        Ok(Self { key: Arc::new(key), chain, trusted, not_before, not_after })
    }

    /// Whether clients that trust `roots` accept it for every one of `names`.
    pub(crate) fn is_accepted(&self, roots: &[Vec<u8>], names: &[String], now: Timestamp, provider: &CryptoProvider) -> bool {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().map(|root| CertificateDer::from(root.as_slice())));
        let Ok(parsed) = ParsedCertificate::try_from(&self.chain[0]) else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
        let algorithms = provider.signature_verification_algorithms.all;
        let is_signed = verify_server_cert_signed_by_trust_anchor(&parsed, &store, &self.chain[1..], now, algorithms).is_ok();
        let is_named = |name: &String| ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
        is_signed && names.iter().all(is_named)
    }

    /// Whether half of its life has passed, by this machine's clock.
    pub(crate) fn is_past_half(&self, now: Timestamp) -> bool {
        is_past_half((self.not_before, self.not_after), now)
    }
}

/// Whether half of a life has passed.
pub(crate) fn is_past_half((from, to): (i64, i64), now: Timestamp) -> bool {
    now.as_second() >= from.saturating_add(to.saturating_sub(from) / 2)
}
