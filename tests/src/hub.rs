//! A real hub, and in the API server's place the few answers of it that a hub asks for: which pod a token belongs to, and whose the pod is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentrun_hub::archive::{Archive, Location, Retention, Settings as ArchiveSettings};
use agentrun_hub::auth::{Cluster, LookupError, Review};
use agentrun_hub::identity::{Facts, Owner};
use agentrun_hub::lease::Bounds;
use agentrun_hub::service::{Service, Settings};
use agentrun_hub::tls::{Source, server_config};
use agentrun_protocol::lease::RENEW_SECONDS;
use agentrun_protocol::names::{AUDIENCE, CHUNK_LABEL, COMBO_LABEL, COMPLETION_INDEX_ANNOTATION, RUN_LABEL, SCORING_LABEL};
use agentrun_protocol::run::Registration;
use axum_server::tls_rustls::RustlsConfig;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt;
use futures::future::BoxFuture;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::sync::watch;

/// The namespace of every pod.
pub const NAMESPACE: &str = "team";
/// The run of every pod.
pub const RUN: &str = "run";
/// The run's uid.
pub const RUN_UID: &str = "run-uid";

/// As short as renewals allow.
const LEASE: Duration = Duration::from_secs(RENEW_SECONDS + 1);

/// A hub whose data outlives it: it can be stopped and started again at the same address.
pub struct Hub {
    folder: TempDir,
    certificate: RustlsConfig,
    ca_pem: String,
    address: SocketAddr,
    running: Option<(Service, Archive)>,
    /// Keeps the port of a stopped hub from others that listen somewhere: bound without listening, it refuses.
    kept: Option<Socket>,
    generations: AtomicI64,
}

impl Hub {
    /// Starts one with an empty store.
    ///
    /// # Panics
    /// It cannot be started: the machine is at fault, no test can go on.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("it is an address");
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        let config = server_config(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("the two fit");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let certificate_config = RustlsConfig::from_config(config);
        let mut hub = Self {
            folder,
            certificate: certificate_config,
            ca_pem: certificate.pem(),
            address,
            running: None,
            kept: None,
            generations: AtomicI64::new(0),
        };
        hub.start_again().await;
        hub
    }

    /// Starts it again after [`Hub::stop`].
    ///
    /// # Panics
    /// As [`Hub::start`].
    pub async fn start_again(&mut self) {
        self.kept = None;
        let location = Location::Sqlite(self.folder.path().join("hub.db"));
        let archive = Archive::open(ArchiveSettings::new(location)).await.expect("the store opens");
        let settings = Settings {
            listen: self.address,
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            certificate: Source::Files { certificate: PathBuf::new(), key: PathBuf::new() },
            operator: "system:serviceaccount:agentrun-system:agentrun-operator".to_owned(),
            audience: AUDIENCE.to_owned(),
            leases: Bounds { length: LEASE, ..Bounds::default() },
            // At first nobody can hold one of before.
            grace: if self.address.port() == 0 { Duration::ZERO } else { LEASE },
            retention: Retention::default(),
            connections: 1000,
            body_bytes: 64 << 20,
            drain: Duration::from_millis(200),
        };
        // The sending end is kept by nobody: the certificate stays as it is.
        let (_, certificate) = watch::channel(Some(self.certificate.clone()));
        let service = Service::start(settings, archive.clone(), Arc::new(Pods), certificate).await.expect("the hub starts");
        self.address = service.address;
        self.running = Some((service, archive));
    }

    /// Stops it; its address refuses from here on.
    pub async fn stop(&mut self) {
        if let Some((service, archive)) = self.running.take() {
            service.stop().await;
            drop(archive);
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
            socket.set_reuse_address(true).expect("an option of every socket");
            socket.bind(&self.address.into()).expect("the port is free again");
            self.kept = Some(socket);
        }
    }

    /// Stops it, and its data is lost.
    ///
    /// # Panics
    /// The data cannot be deleted.
    pub async fn lose(&mut self) {
        self.stop().await;
        for file in std::fs::read_dir(self.folder.path()).expect("its folder is there") {
            std::fs::remove_file(file.expect("its folder can be read").path()).expect("its files can be deleted");
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What its certificate is checked against.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Its store.
    ///
    /// # Panics
    /// It is stopped.
    pub fn archive(&self) -> &Archive {
        &self.running.as_ref().expect("the hub runs").1
    }

    /// Registers the run: one role, two combos (`a` and `b`), datapoints with the inputs `inputs`.
    ///
    /// # Panics
    /// The hub refuses.
    pub async fn register(&self, inputs: &[&str], spec: &Value) {
        let mut whole = json!({
            "roles": [{"name": "solver", "models": ["a", "b"]}],
            "dataset": {"configMap": {"name": "data", "key": "data.jsonl"}},
            "template": {"spec": {"containers": [{"name": "agent", "image": "agent"}]}},
            "scoring": {"contains": {}},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let datapoints =
            inputs.iter().enumerate().map(|(index, input)| json!({"id": format!("q{index}"), "input": input, "expected": "ok"})).collect();
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let registration = Registration { uid: RUN_UID.to_owned(), generation, spec: whole, datapoints };
        self.archive().register(NAMESPACE, RUN, registration).await.expect("the run is registered");
    }
}

/// A token of the pod `name`, as long-lived as a pod's.
pub fn token(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let payload = json!({"aud": [AUDIENCE], "exp": now.as_secs() + 3600});
    format!("e30.{}.{name}", URL_SAFE_NO_PAD.encode(payload.to_string()))
}

/// Pods by their names: `trial-COMBO-INDEX` and what follows is a trial's, `scoring` one that scores, any other one that somebody labelled.
struct Pods;

impl Cluster for Pods {
    fn review<'a>(&'a self, token: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Review>, LookupError>> {
        let name = token.rsplit('.').next().unwrap_or_default().to_owned();
        let uid = format!("{name}-uid");
        let review = Review { username: format!("system:serviceaccount:{NAMESPACE}:default"), pod: Some((name, uid)) };
        async move { Ok(Some(review)) }.boxed()
    }

    fn pod<'a>(&'a self, _: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let mut facts = Facts { uid: format!("{name}-uid"), labels: labels(&[(RUN_LABEL, RUN)]), ..Facts::default() };
        let mut parts = name.split('-');
        match parts.next() {
            Some("trial") => {
                facts.controller = Some(owner("batch/v1", "Job", &format!("job-{}", parts.next().unwrap_or_default())));
                facts.annotations = labels(&[(COMPLETION_INDEX_ANNOTATION, parts.next().unwrap_or_default())]);
            }
            Some("scoring") => facts.controller = Some(owner("batch/v1", "Job", "scoring")),
            _ => {}
        }
        async move { Ok(Some(facts)) }.boxed()
    }

    fn job<'a>(&'a self, _: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        let mut facts =
            Facts { uid: format!("{name}-uid"), controller: Some(owner("agentrun.dev/v1alpha1", "AgentRun", RUN)), ..Facts::default() };
        facts.labels = match name.strip_prefix("job-") {
            Some(combo) => labels(&[(COMBO_LABEL, combo), (CHUNK_LABEL, "0")]),
            None => labels(&[(SCORING_LABEL, "true")]),
        };
        async move { Ok(Some(facts)) }.boxed()
    }
}

fn owner(api_version: &str, kind: &str, name: &str) -> Owner {
    let uid = if kind == "AgentRun" { RUN_UID.to_owned() } else { format!("{name}-uid") };
    Owner { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned(), uid }
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
