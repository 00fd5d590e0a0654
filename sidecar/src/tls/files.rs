//! The files through which clients come to trust our authority, one for each way that clients have.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use agentrun_protocol::names::{BUNDLE_FILE, CA_FILE, PHP_DIR, TRUSTSTORE_FILE, WGETRC_FILE};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;

/// Java's own default. The file holds no secret; Java reads no certificates from one without a password.
const PASSWORD: &str = "changeit";
/// Rounds from that password to a key: what is known to all needs no protection from guessing.
const ROUNDS: u32 = 1000;
/// The agent may run as any user.
const FILE: u32 = 0o444;
const FOLDER: u32 = 0o755;

/// Why trust files cannot be written.
#[derive(Debug, Error)]
pub enum TrustFileError {
    /// The folder is not ours to write, or full.
    #[error("write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Java's file cannot be made.
    #[error("make {TRUSTSTORE_FILE}: {0}")]
    Store(String),
}

/// Writes all of them into `folder`, under which they are named in each other as well.
pub(crate) fn write(folder: &Path, own: &str, bundle: &str) -> Result<(), TrustFileError> {
    let php = folder.join(PHP_DIR);
    for folder in [folder, php.as_path()] {
        let failed = |source| TrustFileError::Write { path: folder.display().to_string(), source };
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(failed)?;
            fs::set_permissions(folder, Permissions::from_mode(FOLDER)).map_err(failed)?;
        }
    }
    let path = folder.join(BUNDLE_FILE);
    let path = path.display();
    put(&folder.join(CA_FILE), own.as_bytes())?;
    put(&folder.join(BUNDLE_FILE), bundle.as_bytes())?;
    put(&php.join("agentrun.ini"), format!("curl.cainfo = \"{path}\"\nopenssl.cafile = \"{path}\"\n").as_bytes())?;
    put(&folder.join(WGETRC_FILE), format!("ca_certificate = {path}\n").as_bytes())?;
    put(&folder.join(TRUSTSTORE_FILE), &truststore(own, bundle)?)
}

/// Whoever reads the file meanwhile sees the old one or the new one whole.
fn put(path: &Path, bytes: &[u8]) -> Result<(), TrustFileError> {
    let failed = |source| TrustFileError::Write { path: path.display().to_string(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    // One that was left behind cannot be written: it may be read-only already.
    fs::remove_file(&unfinished)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(failed)?;
    fs::write(&unfinished, bytes).map_err(failed)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(FILE)).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)
}

/// PKCS #12 with every certificate of `bundle`, as trusted entries: AES-256 and HMAC-SHA-256, as Java 17 and later write it.
fn truststore(own: &str, bundle: &str) -> Result<Vec<u8>, TrustFileError> {
    let failed = |reason: String| TrustFileError::Store(reason);
    let ours = CertificateDer::from_pem_slice(own.as_bytes()).map_err(|error| failed(error.to_string()))?;
    let mut store = KeyStore::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(bundle.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        let alias = if certificate == ours { "agentrun".to_owned() } else { format!("root-{index}") };
        match Certificate::from_der(&certificate) {
            Ok(entry) => store.add_entry(&alias, KeyStoreEntry::Certificate(entry)),
            Err(error) if certificate == ours => return Err(failed(error.to_string())),
            // Public roots of old may have forms that only lenient readers take.
            Err(error) => tracing::warn!(alias, %error, "a root is left out of Java's file"),
        }
    }
    let writer = store.writer(PASSWORD).encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
    writer.write().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ROOTS: usize = 3;

    fn root(name: &str) -> String {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(&key).unwrap().pem()
    }

    fn written() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let own = root("ours");
        let bundle = (1..ROOTS).map(|index| root(&format!("root {index}"))).collect::<String>() + &own;
        write(folder.path(), &own, &bundle).unwrap();
        folder
    }

    #[test]
    fn any_user_can_read_them_and_a_restart_replaces_them() {
        let folder = written();
        let again = root("after a restart");
        write(folder.path(), &again, &again).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(CA_FILE)).unwrap(), again);
        let mut names = Vec::new();
        for place in [folder.path().to_owned(), folder.path().join(PHP_DIR)] {
            for entry in fs::read_dir(place).unwrap().map(Result::unwrap) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                let name = entry.file_name().into_string().unwrap();
                assert_eq!(mode, if name == PHP_DIR { FOLDER } else { FILE }, "{name}");
                names.push(name);
            }
        }
        names.sort();
        assert_eq!(names, ["agentrun.ini", BUNDLE_FILE, CA_FILE, PHP_DIR, TRUSTSTORE_FILE, WGETRC_FILE]);
    }

    #[test]
    fn settings_name_the_bundle_where_it_lies() {
        let folder = written();
        let bundle = folder.path().join(BUNDLE_FILE).display().to_string();
        let ini = fs::read_to_string(folder.path().join("php/agentrun.ini")).unwrap();
        assert_eq!(ini, format!("curl.cainfo = \"{bundle}\"\nopenssl.cafile = \"{bundle}\"\n"));
        assert_eq!(fs::read_to_string(folder.path().join(WGETRC_FILE)).unwrap(), format!("ca_certificate = {bundle}\n"));
    }

    #[test]
    fn java_reads_every_certificate() {
        let folder = written();
        let store = folder.path().join(TRUSTSTORE_FILE);
        let mut list = Command::new("keytool");
        list.args(["-J-XX:TieredStopAtLevel=1", "-list", "-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore"]).arg(&store);
        let listed = list.output().expect("Java's keytool is installed");
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(listed.status.success(), "{text}{}", String::from_utf8_lossy(&listed.stderr));
        assert_eq!(text.matches("trustedCertEntry").count(), ROOTS, "{text}");
        assert!(text.lines().any(|line| line.starts_with("agentrun,")), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let own = root("ours");
        let error = write(&file.join("trust"), &own, &own).unwrap_err().to_string();
        assert!(error.contains("file/trust"), "{error}");
    }
}
