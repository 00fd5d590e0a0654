//! What the benchmark's programs share: flags, PEM files, clocks.
//!
//! These programs run only under the benchmark, which writes their flags: a wrong flag or file panics with its name.
use std::{collections::HashMap, sync::Arc};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub mod cache;
pub mod connect;
pub mod peer;

/// `--name value` flags; a flag without a value counts as "1".
pub struct Flags(HashMap<String, String>);

impl Flags {
    /// Reads the process's arguments.
    pub fn parse() -> Self {
        let mut flags = HashMap::new();
        let mut arguments = std::env::args().skip(1).peekable();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").unwrap_or_else(|| panic!("expected a --flag, got {argument:?}"));
            let value = arguments.next_if(|next| !next.starts_with("--")).unwrap_or_else(|| "1".into());
            flags.insert(name.to_owned(), value);
        }
        Flags(flags)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or(default).to_owned()
    }

    pub fn need(&self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| panic!("--{name} is needed")).to_owned()
    }

    pub fn number(&self, name: &str, default: f64) -> f64 {
        self.get(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("--{name} {value}: {error}")))
    }
}

pub fn certificates(path: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .unwrap_or_else(|error| panic!("reading certificates from {path}: {error}"))
}

pub fn private_key(path: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(path).unwrap_or_else(|error| panic!("reading a private key from {path}: {error}"))
}

/// Trust in the certificates of one file and nothing else.
pub fn roots(path: &str) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path) {
        store.add(certificate).unwrap_or_else(|error| panic!("trusting {path}: {error}"));
    }
    Arc::new(store)
}

/// `CLOCK_MONOTONIC` in ns: one clock for every process of the machine.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// CPU seconds, user and system, of this process.
pub fn cpu_seconds() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("RUSAGE_SELF is always allowed");
    let seconds = |value: nix::sys::time::TimeVal| value.tv_sec() as f64 + value.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
