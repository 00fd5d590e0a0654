//! What the hub is told: flags and environment, checked before anything is opened.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use agentrun_protocol::names::AUDIENCE;
use clap::{Parser, ValueEnum};

use crate::{
    archive::{Location, Retention, Settings},
    tls::Source,
};

/// The hub of an AgentRun installation: it keeps records and outputs, shares stored answers among pods, and sums runs up.
#[derive(Parser)]
#[command(name = "agentrun-hub", version)]
pub struct Args {
    /// Where the API listens, over TLS.
    #[arg(long, env = "AGENTRUN_HUB_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Where health, readiness and metrics are answered, in plain text.
    #[arg(long, env = "AGENTRUN_HUB_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// Folder of the SQLite database.
    #[arg(long, env = "AGENTRUN_HUB_DATA", default_value = "/var/lib/agentrun", value_name = "DIR")]
    pub data: PathBuf,
    /// PostgreSQL instead of SQLite: `postgres://USER:PASSWORD@HOST/DATABASE`.
    #[arg(long, env = "AGENTRUN_HUB_POSTGRES", hide_env_values = true, value_name = "URL", conflicts_with = "postgres_file")]
    pub postgres: Option<String>,
    /// A file that holds the same.
    #[arg(long, env = "AGENTRUN_HUB_POSTGRES_FILE", value_name = "FILE")]
    pub postgres_file: Option<PathBuf>,
    /// The Secret with the certificate to show, as NAMESPACE/NAME (keys `tls.crt` and `tls.key`). It is waited for, and watched.
    #[arg(long, env = "AGENTRUN_HUB_TLS_SECRET", value_name = "NAMESPACE/NAME", value_parser = secret, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub tls_secret: Option<(String, String)>,
    /// The certificate to show, instead: a PEM file, which is looked at every few seconds.
    #[arg(long, env = "AGENTRUN_HUB_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, env = "AGENTRUN_HUB_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The operator's service account.
    #[arg(
        long,
        env = "AGENTRUN_HUB_OPERATOR",
        default_value = "system:serviceaccount:agentrun-system:agentrun-operator",
        value_name = "ACCOUNT"
    )]
    pub operator: String,
    /// The audience that tokens must be meant for.
    #[arg(long, env = "AGENTRUN_HUB_AUDIENCE", default_value = AUDIENCE)]
    pub audience: String,
    /// Namespaces whose runs may share stored answers with each other (`cache.scope: Shared`).
    #[arg(long, env = "AGENTRUN_HUB_SHARED_CACHE_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE,…")]
    pub shared_cache_namespaces: Vec<String>,
    /// The most bytes of stored answers; the oldest go first.
    #[arg(long, env = "AGENTRUN_HUB_CACHE_SIZE", default_value = "4Gi", value_parser = size, value_name = "SIZE")]
    pub cache_size: u64,
    /// The most bytes of the SQLite database; 0 is as many as the disk has.
    #[arg(long, env = "AGENTRUN_HUB_DATA_SIZE", default_value = "0", value_parser = size, value_name = "SIZE")]
    pub data_size: u64,
    /// Removes the data of runs that last changed longer ago, as in `30d` or `12h`: of those whose trials all have a result, and of pods' that
    /// no AgentRun registered. Others are kept until their AgentRun is deleted.
    #[arg(long, env = "AGENTRUN_HUB_RETENTION_AGE", value_parser = age, value_name = "AGE")]
    pub retention_age: Option<Duration>,
    /// Keeps the data of so many runs, those that changed last; of the others, it removes the same runs' as --retention-age.
    #[arg(long, env = "AGENTRUN_HUB_RETENTION_RUNS", value_name = "N")]
    pub retention_runs: Option<usize>,
    /// The most connections at once.
    #[arg(long, env = "AGENTRUN_HUB_MAX_CONNECTIONS", default_value = "16384", value_name = "N")]
    pub max_connections: usize,
    /// The most bytes that bodies of requests hold in memory at once.
    #[arg(long, env = "AGENTRUN_HUB_BODY_MEMORY", default_value = "256Mi", value_parser = size, value_name = "SIZE")]
    pub body_memory: u64,
    /// How long requests may take to end when the hub stops, in seconds.
    #[arg(long, env = "AGENTRUN_HUB_DRAIN_SECONDS", default_value = "10", value_name = "SECONDS")]
    pub drain_seconds: u64,
    /// How the log is written.
    #[arg(long, env = "AGENTRUN_HUB_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Flags that do not fit together, or name what cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No certificate is named.
    #[error("no certificate is named: give --tls-secret NAMESPACE/NAME, or --tls-cert and --tls-key")]
    NoCertificate,
    /// The file with the URL cannot be read.
    #[error("reading the PostgreSQL URL in {}", path.display())]
    PostgresFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Args {
    /// Where the certificate comes from.
    ///
    /// # Errors
    /// None is named.
    pub fn certificate(&self) -> Result<Source, ConfigError> {
        match (&self.tls_secret, &self.tls_cert, &self.tls_key) {
            (Some((namespace, name)), ..) => Ok(Source::Secret { namespace: namespace.clone(), name: name.clone() }),
            (None, Some(certificate), Some(key)) => Ok(Source::Files { certificate: certificate.clone(), key: key.clone() }),
            _ => Err(ConfigError::NoCertificate),
        }
    }

    /// How the archive is opened.
    ///
    /// # Errors
    /// The file with the URL cannot be read.
    pub fn archive(&self) -> Result<Settings, ConfigError> {
        let location = match (&self.postgres, &self.postgres_file) {
            (Some(url), _) => Location::Postgres(url.clone()),
            (None, Some(file)) => Location::Postgres(first_line(file)?),
            (None, None) => Location::Sqlite(self.data.join("hub.db")),
        };
        Ok(Settings {
            answer_bytes: self.cache_size,
            file_bytes: self.data_size,
            shared_namespaces: self.shared_cache_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect(),
            ..Settings::new(location)
        })
    }

    /// Which runs' data is kept.
    pub fn retention(&self) -> Retention {
        Retention { age: self.retention_age, runs: self.retention_runs }
    }
}

fn first_line(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::PostgresFile { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

fn secret(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    parts.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).ok_or_else(|| "write NAMESPACE/NAME".to_owned())
}

/// Bytes as Kubernetes writes them.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = UNITS.iter().find(|(name, _)| *name == &text[digits.len()..]);
    let bytes = unit.and_then(|(_, unit)| digits.parse::<u64>().ok()?.checked_mul(*unit));
    bytes.ok_or_else(|| "write a number of bytes, as in 4Gi".to_owned())
}

/// Whole days, hours, minutes or seconds.
fn age(text: &str) -> Result<Duration, String> {
    let seconds = match text.char_indices().last() {
        Some((at, 'd')) => Some((at, 86_400)),
        Some((at, 'h')) => Some((at, 3600)),
        Some((at, 'm')) => Some((at, 60)),
        Some((at, 's')) => Some((at, 1)),
        _ => None,
    };
    let age = seconds.and_then(|(at, unit)| text[..at].parse::<u64>().ok()?.checked_mul(unit)).filter(|seconds| *seconds > 0);
    age.map(Duration::from_secs).ok_or_else(|| "write a whole number of days, hours, minutes or seconds, as in 30d or 12h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, String> {
        Args::try_parse_from(["agentrun-hub"].iter().chain(flags)).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_and_ages_are_read_as_people_write_them() {
        for (text, bytes) in [("4Gi", 4 << 30), ("0", 0), ("10M", 10_000_000), ("7", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "Gi", "4gib", "-1", "1.5Gi", "99999999999Ti", "4é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for (text, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("5m", 300), ("9s", 9)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "d", "0d", "30", "1.5h", "-1d", "30é", "99999999999999999999d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_comes_from_one_place() {
        let source = |flags: &[&str]| parse(flags).map(|args| args.certificate());
        let secret = source(&["--tls-secret", "system/hub-tls"]).unwrap().unwrap();
        assert_eq!(secret, Source::Secret { namespace: "system".into(), name: "hub-tls".into() });
        assert!(matches!(source(&["--tls-cert", "a", "--tls-key", "b"]), Ok(Ok(Source::Files { .. }))));
        assert!(matches!(source(&[]), Ok(Err(ConfigError::NoCertificate))));
        for wrong in [&["--tls-cert", "a"][..], &["--tls-secret", "hub-tls"], &["--tls-secret", "a/b", "--tls-cert", "a", "--tls-key", "b"]]
        {
            assert!(source(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_database_is_a_file_or_postgres_and_its_password_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "postgres://hub:secret@db/hub\n").unwrap();
        let settings = parse(&["--postgres-file", file.to_str().unwrap()]).unwrap().archive().unwrap();
        assert_eq!(settings.location, Location::Postgres("postgres://hub:secret@db/hub".into()));
        assert!(!format!("{settings:?}").contains("secret"));
        let settings = parse(&["--data", "/data", "--shared-cache-namespaces", "a,b"]).unwrap().archive().unwrap();
        assert_eq!(settings.location, Location::Sqlite("/data/hub.db".into()));
        assert_eq!(settings.shared_namespaces, ["a", "b"]);
        assert!(matches!(parse(&["--postgres-file", "/nowhere"]).unwrap().archive(), Err(ConfigError::PostgresFile { .. })));
    }
}
