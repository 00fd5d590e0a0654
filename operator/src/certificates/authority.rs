//! Our certificate authority: made once, kept in a Secret, shared by all replicas. It signs the webhook's and the hub's certificates.
//!
//! When it is replaced, the new one is also signed by the old one's key, and servers send that certificate along: who trusts only the old one goes on
//! without noticing. Sidecars are told what to trust when their pod is made, and live long.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use thiserror::Error;

use super::pem;

/// Keys of the Secrets, as Kubernetes' own type has them.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// See [`CERTIFICATE`].
pub(crate) const KEY: &str = "tls.key";
/// The certificates that others must trust, current and earlier ones.
pub(crate) const TRUSTED: &str = "ca.crt";
/// Authorities signed by their predecessors, latest first.
const CROSSED: &str = "crossed.crt";

/// Clocks differ: certificates are valid from before they were made.
const BACKDATED: i64 = 3600;
/// Earlier authorities that are kept.
const EARLIER: usize = 3;

/// What a Secret holds.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// What can go wrong with our authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A key or certificate cannot be made.
    #[error("making a certificate")]
    Make(#[source] rcgen::Error),
    /// The Secret lacks a part.
    #[error("the Secret has no `{0}`, or it is no text")]
    Missing(&'static str),
    /// A part of the Secret is no PEM.
    #[error("reading `{0}` of the Secret")]
    Pem(&'static str, #[source] pem::PemError),
    /// The key is of no use.
    #[error("reading the authority's key")]
    Key(#[source] rcgen::Error),
    /// A time is out of bounds.
    #[error("the time {0} cannot stand in a certificate")]
    Time(i64),
}

/// The authority.
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
    /// Its certificate signed by its predecessor, that one's by its own, and so on.
    crossed: Vec<Vec<u8>>,
    /// Predecessors' certificates.
    earlier: Vec<Vec<u8>>,
}

impl Authority {
    /// Makes one.
    pub(crate) fn new(now: Timestamp, lifetime: i64) -> Result<Self, AuthorityError> {
        let key = key()?;
        let params = authority_params(&key, now, lifetime)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        Ok(Self {
            certificate: der(&certificate),
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
            crossed: Vec::new(),
            earlier: Vec::new(),
        })
    }

    /// Makes its successor, which those who trust this one trust too.
    pub(crate) fn successor(&self, now: Timestamp, lifetime: i64) -> Result<Self, AuthorityError> {
        let key = key()?;
        let params = authority_params(&key, now, lifetime)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        let crossed = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Make)?;
        let alive = |certificate: &&Vec<u8>| pem::validity(certificate).is_some_and(|validity| validity.1 > now.as_second());
        let earlier = [&self.certificate].into_iter().chain(&self.earlier).filter(alive).take(EARLIER);
        let crosses = [&der(&crossed)].into_iter().chain(&self.crossed).take(EARLIER).cloned().collect();
        Ok(Self {
            certificate: der(&certificate),
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
            crossed: crosses,
            earlier: earlier.cloned().collect(),
        })
    }

    /// Reads one from its Secret.
    pub(crate) fn read(data: &Data) -> Result<Self, AuthorityError> {
        let certificates = |name: &'static str| {
            let text = data.get(name).ok_or(AuthorityError::Missing(name))?;
            pem::certificates(text).map_err(|error| AuthorityError::Pem(name, error))
        };
        let own = certificates(CERTIFICATE)?;
        let certificate = own.into_iter().next().ok_or(AuthorityError::Missing(CERTIFICATE))?;
        let key_pem = data.get(KEY).and_then(|text| std::str::from_utf8(text).ok()).ok_or(AuthorityError::Missing(KEY))?;
        let key = KeyPair::from_pem(key_pem).map_err(AuthorityError::Key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate.clone().into(), key).map_err(AuthorityError::Key)?;
        let trusted = if data.contains_key(TRUSTED) { certificates(TRUSTED)? } else { Vec::new() };
        let crossed = if data.contains_key(CROSSED) { certificates(CROSSED)? } else { Vec::new() };
        let earlier = trusted.into_iter().filter(|other| *other != certificate).take(EARLIER).collect();
        Ok(Self { certificate, issuer, key_pem: key_pem.to_owned(), crossed, earlier })
    }

    /// What its Secret holds.
    pub(crate) fn data(&self) -> Data {
        let mut data = BTreeMap::from([
            (CERTIFICATE.to_owned(), pem::text([&self.certificate]).into_bytes()),
            (KEY.to_owned(), self.key_pem.clone().into_bytes()),
            (TRUSTED.to_owned(), pem::text(self.trusted()).into_bytes()),
        ]);
        if !self.crossed.is_empty() {
            data.insert(CROSSED.to_owned(), pem::text(&self.crossed).into_bytes());
        }
        data
    }

    /// Its certificate and those before it: what others must trust.
    pub(crate) fn trusted(&self) -> impl Iterator<Item = &Vec<u8>> {
        [&self.certificate].into_iter().chain(&self.earlier)
    }

    /// Signs a server's certificate, and gives what the server's Secret holds.
    pub(crate) fn leaf(&self, names: &[String], now: Timestamp, lifetime: i64) -> Result<Data, AuthorityError> {
        let key = key()?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(AuthorityError::Make)?;
        params.distinguished_name = named(names.first().map(String::as_str).unwrap_or_default());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = period(now, lifetime)?;
        let certificate = der(&params.signed_by(&key, &self.issuer).map_err(AuthorityError::Make)?);
        let chain = [&certificate].into_iter().chain(&self.crossed);
        Ok(BTreeMap::from([
            (CERTIFICATE.to_owned(), pem::text(chain).into_bytes()),
            (KEY.to_owned(), key.serialize_pem().into_bytes()),
            (TRUSTED.to_owned(), pem::text(self.trusted()).into_bytes()),
        ]))
    }
}

/// Every authority has a subject of its own, by which chains are found; it follows from the key.
fn authority_params(key: &KeyPair, now: Timestamp, lifetime: i64) -> Result<CertificateParams, AuthorityError> {
    use sha2::{Digest as _, Sha256};
    let digest: [u8; 32] = Sha256::digest(key.public_key_raw()).into();
    let unique: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("AgentRun {unique}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = period(now, lifetime)?;
    Ok(params)
}

fn period(now: Timestamp, lifetime: i64) -> Result<(time::OffsetDateTime, time::OffsetDateTime), AuthorityError> {
    let at = |second: i64| time::OffsetDateTime::from_unix_timestamp(second).map_err(|_| AuthorityError::Time(second));
    let now = now.as_second();
    Ok((at(now.saturating_sub(BACKDATED))?, at(now.saturating_add(lifetime))?))
}

fn key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Make)
}

fn der(certificate: &Certificate) -> Vec<u8> {
    certificate.der().to_vec()
}

/// X.509 bounds a common name to 64 characters.
fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}
