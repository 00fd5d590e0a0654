//! The public roots: what upstream certificates are checked against, and the bundle that agents are given.

use std::{path::Path, sync::Arc};

use agentrun_protocol::names::ROOTS_ENV;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{RootCertStore, pki_types::CertificateDer};
use thiserror::Error;

use super::pem;

/// What can go wrong with roots.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file of extra roots, or a folder of them, cannot be read.
    #[error("read the certificates of {path}: {source}")]
    Read {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate in it cannot be used. All of a file's certificates must be good: one that is left out silently is missed much later.
    #[error("{path}: {reason}")]
    Broken {
        /// The file, or the variable, with the certificate.
        path: String,
        /// Which block, and what is wrong with it.
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
    /// Loads the system's roots, the PEM files `extra` (or all files of a folder), and the PEM text `more`.
    pub(crate) fn load(extra: &[impl AsRef<Path>], more: Option<&str>) -> Result<Self, TrustError> {
        let mut certificates = system();
        if certificates.is_empty() {
            certificates.extend_from_slice(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        }
        for path in extra {
            certificates.extend(read(path.as_ref())?);
        }
        if let Some(text) = more {
            certificates.extend(parse(ROOTS_ENV, text)?);
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

/// The certificates of a file, or of each file of a folder.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |source| TrustError::Read { path: path.display().to_string(), source };
    if !path.is_dir() {
        let text = std::fs::read(path).map_err(failed)?;
        // What is no UTF-8 is no PEM block either, and a comment in another encoding harms nobody.
        return parse(&path.display().to_string(), &String::from_utf8_lossy(&text));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A mounted ConfigMap keeps its files in folders whose names begin with two dots, and links to them.
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    let mut certificates = Vec::new();
    for file in files {
        certificates.extend(read(&file)?);
    }
    Ok(certificates)
}

fn parse(path: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates = pem::certificates(text).map_err(|reason| TrustError::Broken { path: path.to_owned(), reason })?;
    if certificates.is_empty() {
        return Err(TrustError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> String {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    #[test]
    fn extra_roots_come_from_files_folders_and_text() {
        let folder = tempfile::tempdir().unwrap();
        let nothing: [&Path; 0] = [];
        let system = Trust::load(&nothing, None).unwrap().certificates.len();
        assert!(system > 50, "{system} public roots");
        // As a ConfigMap is mounted.
        std::fs::create_dir(folder.path().join("..data")).unwrap();
        std::fs::write(folder.path().join("..data/roots.pem"), root("a") + &root("b")).unwrap();
        std::os::unix::fs::symlink("..data/roots.pem", folder.path().join("roots.pem")).unwrap();
        let text = root("c");
        let trust = Trust::load(&[folder.path(), &folder.path().join("roots.pem")], Some(&text)).unwrap();
        assert_eq!(trust.certificates.len(), system + 2 + 2 + 1);
        assert!(trust.bundle("own").contains(text.replace("\r\n", "\n").trim()), "the agents' bundle has them too");
        assert!(trust.store().len() >= 5);
    }

    #[test]
    fn a_root_that_cannot_be_used_is_an_error_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("corporate.pem");
        let good = root("a");
        std::fs::write(&file, good.clone() + &root("b").replace('M', "*")).unwrap();
        let told = |path: &Path| Trust::load(&[path], None).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told(folder.path()).contains("corporate.pem: block 2 is broken"), "{}", told(folder.path()));
        std::fs::write(&file, "none here").unwrap();
        assert!(told(&file).contains("corporate.pem holds no certificate"), "{}", told(&file));
        assert!(
            told(&folder.path().join("absent.pem")).starts_with("read the certificates of"),
            "{}",
            told(&folder.path().join("absent.pem"))
        );
        let nothing: [&Path; 0] = [];
        let text = Trust::load(&nothing, Some(&good[..good.len() / 2])).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.starts_with("AGENTRUN_ROOTS: block 1 has no line"), "{text}");
    }
}
