//! Certificates as text, and what is read of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// The most certificates that are read of one text: a bundle of all public roots has some 150.
const MOST: usize = 1000;

/// A text that is no list of certificates.
#[derive(Debug, Error)]
pub enum PemError {
    /// A block is broken.
    #[error("the text is no PEM: {0}")]
    Broken(String),
    /// There is none.
    #[error("the text holds no certificate")]
    Empty,
    /// There are too many.
    #[error("the text holds more than {MOST} certificates")]
    TooMany,
}

/// The certificates in a text, in order. One broken block makes the whole text useless: half a list of roots is not what was meant.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|error| PemError::Broken(error.to_string()))?;
        if validity(&certificate).is_none() {
            return Err(PemError::Broken("a block holds no certificate".to_owned()));
        }
        found.push(certificate.to_vec());
        if found.len() > MOST {
            return Err(PemError::TooMany);
        }
    }
    if found.is_empty() { Err(PemError::Empty) } else { Ok(found) }
}

/// Certificates as text; each once.
pub(crate) fn text<'a>(certificates: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    let mut seen: Vec<&Vec<u8>> = Vec::new();
    let mut text = String::new();
    for certificate in certificates {
        if seen.contains(&certificate) {
            continue;
        }
        seen.push(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// From when and until when a certificate is valid, seconds since 1970.
pub(crate) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}
