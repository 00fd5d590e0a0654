//! A certificate authority of a test's own: what a company has, or cert-manager makes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::SYSTEM;

/// The authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Keys cannot be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names are right names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "a company's own");
        let key = KeyPair::generate().expect("keys can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority can sign itself"))
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its private key, PEM.
    pub fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A server's certificate and its private key, PEM.
    ///
    /// # Panics
    /// A name is none.
    pub fn server(&self, names: &[String]) -> (String, String) {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::new(names.to_vec()).expect("the names are host names or addresses");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.0).expect("the authority can sign");
        (certificate.pem(), key.serialize_pem())
    }

    /// The data of a Secret of type `kubernetes.io/tls` for a server.
    pub fn server_data(&self, names: &[String]) -> Value {
        let (certificate, key) = self.server(names);
        tls_data(&certificate, &key, &self.pem())
    }

    /// A Secret in the release's namespace for its Service `service`.
    pub fn secret(&self, name: &str, service: &str) -> Value {
        let data = self.server_data(&[format!("{service}.{SYSTEM}.svc")]);
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": SYSTEM}, "data": data})
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// `tls.crt`, `tls.key` and `ca.crt`.
pub fn tls_data(certificate: &str, key: &str, authority: &str) -> Value {
    json!({"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key), "ca.crt": STANDARD.encode(authority)})
}
