//! The public roots: what upstream certificates are checked against, and the bundle that agents are given.

use std::{path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use thiserror::Error;

/// What can go wrong with roots.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file of extra roots cannot be read as PEM.
    #[error("read the certificates of {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file of extra roots holds none.
    #[error("{path} holds no certificate; give a PEM file with one or more")]
    Empty {
        /// The file.
        path: String,
    },
}

/// The roots that are trusted: the system's, or Mozilla's where the system has none, and the extra ones.
pub(crate) struct Trust {
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Loads the system's roots and the PEM files `extra`.
    pub(crate) fn load(extra: &[impl AsRef<Path>]) -> Result<Self, TrustError> {
        let mut certificates = system();
        if certificates.is_empty() {
            certificates.extend_from_slice(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        }
        for path in extra {
            certificates.extend(read(path.as_ref())?);
        }
        Ok(Self { certificates })
    }

    /// For checking upstream certificates. A root that rustls cannot use is left out.
    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates.iter().cloned());
        Arc::new(store)
    }

    /// PEM: all roots, then `own`, as agents' bundles have it.
    pub(crate) fn bundle(&self, own: &str) -> String {
        let mut bundle = String::with_capacity(self.certificates.len() * 1700 + own.len());
        for certificate in &self.certificates {
            let text = STANDARD.encode(certificate);
            bundle.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in text.as_bytes().chunks(64) {
                bundle.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
                bundle.push('\n');
            }
            bundle.push_str("-----END CERTIFICATE-----\n");
        }
        bundle.push_str(own);
        bundle
    }
}

/// Where distributions keep all roots in one file: Debian and Alpine, Fedora, SUSE, the BSDs and macOS.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// The system's roots: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or one bundle. Reading the folder beside it as well would
/// read each root twice, out of some hundred files.
fn system() -> Vec<CertificateDer<'static>> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists()).filter(|_| !named);
    match bundle {
        Some(bundle) => rustls_native_certs::load_certs_from_paths(Some(bundle), None).certs,
        None => rustls_native_certs::load_native_certs().certs,
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |reason: String| TrustError::Read { path: path.display().to_string(), reason };
    let certificates =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TrustError::Empty { path: path.display().to_string() });
    }
    Ok(certificates)
}
