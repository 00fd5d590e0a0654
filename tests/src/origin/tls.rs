//! The origin's own certificate authority and its one certificate.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The host names the certificate names beside 127.0.0.1: the providers' own, with the regional ones the tests use.
pub const HOSTS: &[&str] = &[
    "localhost",
    "api.openai.com",
    "*.api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "*.googleapis.com",
    "api.mistral.ai",
    "codestral.mistral.ai",
    "api.cohere.com",
    "api.cohere.ai",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-runtime.us-west-2.amazonaws.com",
    "bedrock-runtime.eu-central-1.amazonaws.com",
    "*.openai.azure.com",
    "*.services.ai.azure.com",
    "*.cognitiveservices.azure.com",
    "api.groq.com",
    "api.together.xyz",
    "api.together.ai",
    "api.deepseek.com",
    "openrouter.ai",
    "api.x.ai",
    "api.fireworks.ai",
    "api.perplexity.ai",
    "api.cerebras.ai",
    "llm.internal.test",
    "plain.test",
];

/// A certificate authority that lives as long as its origin.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    hosts: Vec<String>,
}

impl Authority {
    /// Makes a fresh P-256 authority; `hosts` are added to [`HOSTS`].
    ///
    /// # Errors
    /// The key or the certificate cannot be made.
    pub fn new(hosts: &[String]) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "AgentRun test origin");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?)?;
        let hosts = HOSTS.iter().map(|host| (*host).to_owned()).chain(["127.0.0.1".to_owned()]).chain(hosts.iter().cloned()).collect();
        Ok(Self { issuer, hosts })
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server configuration with one certificate for all hosts.
    ///
    /// # Errors
    /// A host is no valid name, or the certificate cannot be signed.
    pub fn server_config(&self, http2: bool) -> Result<ServerConfig, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(self.hosts.clone())?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        config(vec![certificate.der().clone()], key, http2)
    }
}

/// A server configuration with the certificates and the key of two PEM files.
pub(super) fn read_config(chain: &Path, key: &Path, http2: bool) -> Result<ServerConfig, Error> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    config(chain, PrivateKeyDer::from_pem_file(key)?, http2)
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>, http2: bool) -> Result<ServerConfig, Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}
