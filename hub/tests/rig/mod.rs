//! A hub that a test talks to.

mod answers;
mod certificate;
mod client;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentrun_hub::{
    archive::{Archive, Location, Retention, Settings as ArchiveSettings},
    lease::Bounds,
    service::{Service, Settings},
    tls::{self, Source},
};
use tempfile::TempDir;

pub(crate) use answers::{ApiServer, Pod, sealed, token};
pub(crate) use certificate::Authority;
pub(crate) use client::{Answered, Client};

/// The operator's service account.
pub(crate) const OPERATOR: &str = "agentrun-system:agentrun-operator";

/// A hub, its folder, and the API server that it asks.
pub(crate) struct Hub {
    pub(crate) service: Service,
    pub(crate) api_server: Arc<ApiServer>,
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
    settings: Settings,
    file_bytes: u64,
}

impl Hub {
    /// A hub that has been up for long: it gives leases at once.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(change, 0).await
    }

    /// The same, with a store that holds so many bytes.
    pub(crate) async fn holding(file_bytes: u64) -> Self {
        Self::made(|_| {}, file_bytes).await
    }

    async fn made(change: impl FnOnce(&mut Settings), file_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let certificate = authority.write(folder.path());
        let mut settings = settings(certificate);
        change(&mut settings);
        let api_server = Arc::new(ApiServer::default());
        let service = service(&settings, folder.path(), file_bytes, &api_server).await;
        Self { service, api_server, authority, folder, settings, file_bytes }
    }

    /// The same hub after a restart, at another address.
    pub(crate) async fn restart(self, grace: Duration) -> Self {
        let Self { service, api_server, authority, folder, mut settings, file_bytes } = self;
        service.stop().await;
        settings.grace = grace;
        let service = self::service(&settings, folder.path(), file_bytes, &api_server).await;
        Self { service, api_server, authority, folder, settings, file_bytes }
    }

    /// A client without a token.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.service.address, &self.authority)
    }

    /// The operator.
    pub(crate) fn operator(&self) -> Client {
        self.client().bearing(answers::token(OPERATOR, None))
    }

    /// Somebody who may read a namespace's runs.
    pub(crate) fn reader(&self, namespace: &str) -> Client {
        self.client().bearing(answers::token(&format!("{namespace}:default"), None))
    }

    /// The sidecar of a pod, which the API server then knows.
    pub(crate) fn pod(&self, pod: Pod) -> Client {
        let token = answers::token(&format!("{}:default", pod.namespace), Some((&pod.name, &pod.uid)));
        self.api_server.add(pod);
        self.client().bearing(token)
    }
}

fn settings(certificate: Source) -> Settings {
    let any = ([127, 0, 0, 1], 0).into();
    Settings {
        listen: any,
        admin_listen: any,
        certificate,
        operator: format!("system:serviceaccount:{OPERATOR}"),
        audience: "agentrun-hub".into(),
        leases: Bounds::default(),
        grace: Duration::ZERO,
        retention: Retention::default(),
        connections: 1000,
        body_bytes: 64 << 20,
        drain: Duration::from_secs(10),
    }
}

async fn service(settings: &Settings, folder: &Path, file_bytes: u64, api_server: &Arc<ApiServer>) -> Service {
    let location = Location::Sqlite(database(folder));
    let archive = Archive::open(ArchiveSettings { file_bytes, ..ArchiveSettings::new(location) }).await.unwrap();
    let certificate = tls::follow(settings.certificate.clone(), None);
    Service::start(settings.clone(), archive, api_server.clone(), certificate).await.unwrap()
}

fn database(folder: &Path) -> PathBuf {
    folder.join("hub.db")
}
