//! The certificate that the hub shows, from a Secret or from files, exchanged without a restart when it is renewed.
//!
//! A certificate that cannot be used is told in the log, and the one before stays.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum_server::tls_rustls::RustlsConfig;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, runtime::WatchStreamExt, runtime::watcher};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::sync::watch;

/// How often files are looked at: a mounted Secret changes about once a minute at most.
const LOOK: Duration = Duration::from_secs(5);

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Keys `tls.crt` and `tls.key` of a Secret, which is watched.
    Secret {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
    },
    /// Two PEM files, which are looked at every few seconds.
    Files {
        /// The certificate and those that it is signed by.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// Why a certificate cannot be used. No text of it repeats the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The Secret lacks a key.
    #[error("the Secret has no key `{0}`")]
    NoKey(&'static str),
    /// The certificate is no PEM.
    #[error("the certificate is no PEM certificate")]
    Certificate,
    /// The key is no PEM.
    #[error("the private key is no PEM private key")]
    PrivateKey,
    /// The two do not fit together.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// What a server needs to show a certificate over HTTP/2 and HTTP/1.1.
///
/// # Errors
/// Text that is no PEM; a key that is not the certificate's.
pub fn server_config(certificate: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::PrivateKey)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate in use: `None` until the first one came.
pub type Current = watch::Receiver<Option<RustlsConfig>>;

/// Follows the certificate at `source`, as long as the task lives. `client` is needed for a Secret alone.
pub fn follow(source: Source, client: Option<Client>) -> Current {
    let (sender, receiver) = watch::channel(None);
    match (source, client) {
        (Source::Files { certificate, key }, _) => drop(tokio::spawn(follow_files(certificate, key, sender))),
        (Source::Secret { namespace, name }, Some(client)) => drop(tokio::spawn(follow_secret(namespace, name, client, sender))),
        (Source::Secret { name, .. }, None) => tracing::error!(secret = name, "no API server to read the certificate from"),
    }
    receiver
}

async fn follow_files(certificate: PathBuf, key: PathBuf, current: watch::Sender<Option<RustlsConfig>>) {
    let mut before = None;
    while !current.is_closed() {
        match read(&certificate).and_then(|certificate| Ok((certificate, read(&key)?))) {
            // The two are written one after the other: only a pair that fits is taken, and one that does not is looked at again.
            Ok(pair) if before.as_ref() != Some(&pair) => {
                if exchange(server_config(&pair.0, &pair.1), &current) {
                    before = Some(pair);
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(error = crate::sentence(&error), "the certificate cannot be read"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

async fn follow_secret(namespace: String, name: String, client: Client, current: watch::Sender<Option<RustlsConfig>>) {
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut seen = pin!(watcher(secrets, only).default_backoff().applied_objects());
    tracing::info!(secret = name, "waiting for the certificate");
    loop {
        match seen.try_next().await {
            Ok(Some(secret)) => drop(exchange(of_secret(&secret), &current)),
            Ok(None) => return,
            Err(error) => tracing::warn!(secret = name, error = crate::sentence(&error), "the certificate's Secret cannot be watched"),
        }
    }
}

fn of_secret(secret: &Secret) -> Result<Arc<ServerConfig>, TlsError> {
    let part = |key| secret.data.as_ref().and_then(|data| data.get(key)).ok_or(TlsError::NoKey(key));
    server_config(&part("tls.crt")?.0, &part("tls.key")?.0)
}

/// Takes a certificate into use. Connections that are open keep theirs.
fn exchange(config: Result<Arc<ServerConfig>, TlsError>, current: &watch::Sender<Option<RustlsConfig>>) -> bool {
    match config {
        Ok(config) => {
            current.send_modify(|in_use| match in_use {
                Some(in_use) => in_use.reload_from_config(config),
                None => *in_use = Some(RustlsConfig::from_config(config)),
            });
            tracing::info!("a certificate is in use");
            true
        }
        Err(error) => {
            tracing::error!(error = crate::sentence(&error), "the certificate is not taken into use");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn only_a_certificate_with_its_own_key_is_taken() {
        let ((certificate, key), (_, other)) = (pair("a.test"), pair("b.test"));
        assert!(server_config(certificate.as_bytes(), key.as_bytes()).is_ok());
        assert!(matches!(server_config(certificate.as_bytes(), other.as_bytes()), Err(TlsError::Unusable(_))));
        assert!(matches!(server_config(b"", key.as_bytes()), Err(TlsError::Certificate)));
        assert!(matches!(server_config(certificate.as_bytes(), b"nonsense"), Err(TlsError::PrivateKey)));
    }

    #[tokio::test]
    async fn the_first_pair_that_fits_is_taken_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let pair = pair("a.test");
        std::fs::write(&certificate, pair.0).unwrap();
        std::fs::write(&key, pair.1).unwrap();
        let mut current = follow(Source::Files { certificate, key }, None);
        current.wait_for(Option::is_some).await.unwrap();
    }

    #[test]
    fn a_bad_renewal_leaves_the_one_before() {
        let (sender, receiver) = watch::channel(None);
        let (certificate, key) = pair("a.test");
        assert!(exchange(server_config(certificate.as_bytes(), key.as_bytes()), &sender));
        let before = receiver.borrow().as_ref().unwrap().get_inner();
        assert!(!exchange(Err(TlsError::NoKey("tls.key")), &sender));
        assert!(Arc::ptr_eq(&before, &receiver.borrow().as_ref().unwrap().get_inner()));
    }
}
