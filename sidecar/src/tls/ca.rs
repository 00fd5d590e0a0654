//! The certificate authority that agents are told to trust, and the certificates it signs for the hosts that are read.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    server::ServerSessionMemoryCache,
    sign::CertifiedKey,
};
use thiserror::Error;

/// Hosts whose certificates are kept; a further host costs one signature, some 50 µs.
const LEAVES: usize = 1024;
/// Clocks of containers differ; a certificate is valid from before it was made.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// A run may be suspended for weeks; the key lives in memory only and dies with the process.
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 3600);

/// What can go wrong with certificates.
#[derive(Debug, Error)]
pub enum CaError {
    /// A key or certificate cannot be made.
    #[error("make the certificate authority: {0}")]
    Make(rcgen::Error),
    /// A host's certificate cannot be signed.
    #[error("sign a certificate for {host}: {source}")]
    Sign {
        /// The host.
        host: String,
        /// Why.
        source: rcgen::Error,
    },
    /// rustls refuses the certificate.
    #[error("serve the certificate of {host}: {source}")]
    Serve {
        /// The host.
        host: String,
        /// Why.
        source: rustls::Error,
    },
}

/// A P-256 authority with a key of its own for the hosts' certificates, so that the authority's key signs certificates only.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    leaf_key: KeyPair,
    provider: Arc<CryptoProvider>,
    leaves: Cache<String, Arc<ServerConfig>>,
}

impl Authority {
    /// Makes a new authority, whose subject bears `name`; its key never leaves this process.
    pub(crate) fn new(provider: Arc<CryptoProvider>, name: Option<&str>) -> Result<Self, CaError> {
        let (issuer, pem) = issuer(name).map_err(CaError::Make)?;
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Make)?;
        Ok(Self { issuer, pem, leaf_key, provider, leaves: Cache::new(LEAVES) })
    }

    /// The authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// How to answer a TLS handshake for `host` (a name or an IP address): signed once, then kept.
    pub(crate) fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, CaError> {
        if let Some(config) = self.leaves.get(host) {
            return Ok(config);
        }
        let config = Arc::new(self.sign(host)?);
        self.leaves.insert(host.to_owned(), config.clone());
        Ok(config)
    }

    fn sign(&self, host: &str) -> Result<ServerConfig, CaError> {
        let signing = |source| CaError::Sign { host: host.to_owned(), source };
        let serving = |source| CaError::Serve { host: host.to_owned(), source };
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(signing)?;
        params.distinguished_name = named(host);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity();
        let certificate = params.signed_by(&self.leaf_key, &self.issuer).map_err(signing)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()).into();
        let certified = CertifiedKey::from_der(chain, key, &self.provider).map_err(serving)?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(serving)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(256);
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// No two authorities have one subject, not even those that a pod's sidecar makes one after the other: a client that trusts an older one
/// would take the newer key for a forgery.
fn issuer(name: Option<&str>) -> Result<(Issuer<'static, KeyPair>, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let unique = uuid::Uuid::now_v7().to_string();
    params.distinguished_name = named(&format!("AgentRun {}", name.unwrap_or(&unique)));
    if name.is_some() {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unique);
    }
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity();
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // X.509 bounds a common name to 64 characters; the subject alternative name is what clients compare.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn validity() -> (time::OffsetDateTime, time::OffsetDateTime) {
    let now = time::OffsetDateTime::now_utc();
    (now - BACKDATED, now + LIFETIME)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// The organisational unit of a certificate's subject: UTF8String of a UUID's length after the attribute's identifier, 2.5.4.11.
    fn unit(certificate: &[u8]) -> &[u8] {
        let at = certificate.windows(5).rposition(|bytes| bytes == [0x55, 0x04, 0x0b, 0x0c, 36]).unwrap();
        &certificate[at + 5..at + 5 + 36]
    }

    #[test]
    fn no_two_authorities_have_one_subject_and_each_has_its_pods_uid() {
        let name = "0c0ffee0-0000-4000-8000-000000000000";
        let [first, second] = [(); 2].map(|()| CertificateDer::from_pem_slice(issuer(Some(name)).unwrap().1.as_bytes()).unwrap());
        let common = format!("AgentRun {name}");
        assert!([&first, &second].iter().all(|der| der.windows(common.len()).any(|bytes| bytes == common.as_bytes())));
        assert_ne!(unit(&first), unit(&second), "one key would be taken for the other's forgery");
    }
}
