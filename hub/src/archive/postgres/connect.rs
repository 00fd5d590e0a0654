//! Where the database is, and how it is connected to: over TLS that is verified, unless the URL says otherwise.

use std::{str::FromStr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::Fault;
use crate::archive::error::ArchiveError;

/// How long a connection may take to be made, and a sent byte to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the database is.
pub(super) struct Target {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Target {
    /// Reads a URL. Errors never hold it: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self, ArchiveError> {
        let refused = |problem: String| ArchiveError::Settings(format!("the PostgreSQL URL is refused: {problem}"));
        let mut url = Url::parse(url).map_err(|error| refused(format!("{error}: write postgres://USER:PASSWORD@HOST/DATABASE")))?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(refused(format!("its scheme is {}: write postgres://USER:PASSWORD@HOST/DATABASE", url.scheme())));
        }
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for (name, value) in url.query_pairs().into_owned() {
            match name.as_str() {
                "sslmode" => mode = Some(value),
                "sslrootcert" => roots = Some(value),
                _ => rest.push((name, value)),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        let mut config = Config::from_str(url.as_str()).map_err(|error| refused(format!("{error}{}", cause(&error))))?;
        let local = !config.get_hosts().is_empty() && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = match mode.as_deref() {
            Some("disable") => false,
            None => !local,
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(other) => {
                return Err(refused(format!("sslmode={other} would not verify the server: use verify-full, or disable for none at all")));
            }
        };
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE).keepalives_idle(PATIENCE);
        config.application_name("agentrun-hub");
        let tls = if tls { Some(client(roots.as_deref()).map_err(refused)?) } else { None };
        Ok(Self { config, tls })
    }

    /// Connects. What is committed on the connection is on the disk, whatever the server's default.
    pub(super) async fn connect(&self) -> Result<Client, Fault> {
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute("SET synchronous_commit = on").await?;
        Ok(client)
    }
}

fn client(roots: Option<&str>) -> Result<MakeRustlsConnect, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    if let Some(path) = roots {
        let found = CertificateDer::pem_file_iter(path).map_err(|error| format!("reading sslrootcert {path}: {error}"))?;
        let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| format!("reading sslrootcert {path}: {error}"))?;
        if found.is_empty() {
            return Err(format!("sslrootcert {path} holds no certificate"));
        }
        for certificate in found {
            store.add(certificate).map_err(|error| format!("a certificate of sslrootcert {path}: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(store).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn cause(error: &dyn std::error::Error) -> String {
    error.source().map(|cause| format!(": {cause}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_verifies_unless_it_says_that_it_does_not() {
        let table = [
            ("postgres://hub:secret@db.example/agentrun", Ok(true)),
            ("postgresql://hub:secret@db.example/agentrun?sslmode=require", Ok(true)),
            ("postgres://hub:secret@db.example/agentrun?sslmode=verify-full&connect_timeout=3", Ok(true)),
            ("postgres://hub:secret@db.example/agentrun?sslmode=disable", Ok(false)),
            ("postgres:///agentrun?host=/run/postgresql", Ok(false)),
            ("postgres://hub:secret@db.example/agentrun?sslmode=prefer", Err("would not verify")),
            ("postgres://hub:secret@db.example/agentrun?sslrootcert=/nowhere/ca.pem", Err("sslrootcert /nowhere/ca.pem")),
            ("postgres://hub:secret@db.example/agentrun?colour=red", Err("colour")),
            ("mysql://hub:secret@db.example/agentrun", Err("scheme is mysql")),
            ("db.example secret", Err("write postgres://")),
        ];
        for (url, expected) in table {
            match (Target::parse(url), expected) {
                (Ok(target), Ok(tls)) => assert_eq!(target.tls.is_some(), tls, "{url}"),
                (Err(error), Err(part)) => {
                    let text = error.to_string();
                    assert!(text.contains(part) && !text.contains("secret"), "{url}: {text}");
                }
                (result, expected) => panic!("{url}: {:?} is not {expected:?}", result.map(|_| ()).map_err(|error| error.to_string())),
            }
        }
    }
}
