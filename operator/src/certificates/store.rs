//! The objects in the cluster that hold certificates: seen by watches of one object each, written with care.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{BoxStream, StreamExt as _, select_all};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use thiserror::Error;

use super::authority::Data;
use super::plan::{Action, Seen, Server};
use super::{Mode, ROTATE_ANNOTATION, Settings};

/// One of the objects, as it is now; `None` where there is none.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Authority(Option<Box<Secret>>),
    Webhook(Option<Box<Secret>>),
    Hub(Option<Box<Secret>>),
    Mutating(Option<Bundles>),
    Validating(Option<Bundles>),
}

/// The webhooks of a configuration: name and `caBundle`.
pub(super) type Bundles = Vec<(String, Vec<u8>)>;

/// The objects as they were last seen; the outer `None` is not seen yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    authority: Option<Option<Box<Secret>>>,
    webhook: Option<Option<Box<Secret>>>,
    hub: Option<Option<Box<Secret>>>,
    mutating: Option<Option<Bundles>>,
    validating: Option<Option<Bundles>>,
}

impl Objects {
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Authority(object) => self.authority = Some(object),
            Event::Webhook(object) => self.webhook = Some(object),
            Event::Hub(object) => self.hub = Some(object),
            Event::Mutating(bundles) => self.mutating = Some(bundles),
            Event::Validating(bundles) => self.validating = Some(bundles),
        }
    }

    /// Whether every object was looked at.
    pub(super) fn is_complete(&self) -> bool {
        let secrets = self.authority.is_some() && self.webhook.is_some() && self.hub.is_some();
        secrets && self.mutating.is_some() && self.validating.is_some()
    }

    pub(super) fn seen(&self) -> Seen {
        let bundles = [&self.mutating, &self.validating].into_iter().flatten().flatten().flatten();
        let authority = self.authority.as_ref().and_then(Option::as_ref);
        Seen {
            authority: authority.map(|secret| data(secret)),
            asked: authority.is_some_and(|secret| secret.annotations().contains_key(ROTATE_ANNOTATION)),
            webhook: self.webhook.as_ref().and_then(Option::as_ref).map(|secret| data(secret)),
            hub: self.hub.as_ref().and_then(Option::as_ref).map(|secret| data(secret)),
            bundles: bundles.map(|(_, bundle)| bundle.clone()).collect(),
        }
    }
}

/// Why something could not be written.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error("creating Secret `{0}`")]
    Create(String, #[source] kube::Error),
    #[error("replacing Secret `{0}`")]
    Replace(String, #[source] kube::Error),
    #[error("writing caBundle into {0} `{1}`")]
    Trust(&'static str, String, #[source] kube::Error),
}

/// Where the objects are.
pub(super) struct Store {
    client: Client,
    settings: Arc<Settings>,
}

impl Store {
    pub(super) fn new(client: Client, settings: Arc<Settings>) -> Self {
        Self { client, settings }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    /// All objects, as they change. It never ends: a watch that breaks is begun again.
    pub(super) fn watch(&self) -> BoxStream<'static, Event> {
        let secret = |name: &str, event: fn(Option<Box<Secret>>) -> Event| -> BoxStream<'static, Event> {
            steady(watch_object(self.secrets(), name), move |secret| event(secret.map(Box::new)))
        };
        let settings = &self.settings;
        let mut streams = vec![secret(&settings.webhook_secret, Event::Webhook), secret(&settings.hub_secret, Event::Hub)];
        match settings.mode {
            Mode::Auto => streams.push(secret(&settings.authority_secret, Event::Authority)),
            Mode::Secret => streams.push(futures::stream::iter([Event::Authority(None)]).chain(futures::stream::pending()).boxed()),
        }
        let mutating = watch_object(Api::<MutatingWebhookConfiguration>::all(self.client.clone()), &settings.configuration);
        streams.push(steady(mutating, |object| {
            let webhooks = object.map(|object| object.webhooks.unwrap_or_default());
            Event::Mutating(webhooks.map(|webhooks| {
                webhooks.into_iter().map(|webhook| (webhook.name, webhook.client_config.ca_bundle.unwrap_or_default().0)).collect()
            }))
        }));
        let validating = watch_object(Api::<ValidatingWebhookConfiguration>::all(self.client.clone()), &settings.configuration);
        streams.push(steady(validating, |object| {
            let webhooks = object.map(|object| object.webhooks.unwrap_or_default());
            Event::Validating(webhooks.map(|webhooks| {
                webhooks.into_iter().map(|webhook| (webhook.name, webhook.client_config.ca_bundle.unwrap_or_default().0)).collect()
            }))
        }));
        select_all(streams).boxed()
    }

    /// Does one write. Only who may replaces; anybody may make what is missing, and the first one counts.
    pub(super) async fn write(&self, action: Action, objects: &Objects, may_replace: bool) -> Result<(), StoreError> {
        let settings = &self.settings;
        match action {
            Action::CreateAuthority(data) => self.create(&settings.authority_secret, "Opaque", data).await,
            Action::CreateLeaf(server, data) => self.create(self.name(server), "kubernetes.io/tls", data).await,
            _ if !may_replace => Ok(()),
            Action::ReplaceAuthority(data) => self.replace(objects.authority.as_ref(), data).await,
            Action::ReplaceLeaf(Server::Webhook, data) => self.replace(objects.webhook.as_ref(), data).await,
            Action::ReplaceLeaf(Server::Hub, data) => self.replace(objects.hub.as_ref(), data).await,
            Action::Trust(bundle) => {
                self.trust::<MutatingWebhookConfiguration>("MutatingWebhookConfiguration", objects.mutating.as_ref(), &bundle).await?;
                self.trust::<ValidatingWebhookConfiguration>("ValidatingWebhookConfiguration", objects.validating.as_ref(), &bundle).await
            }
        }
    }

    fn name(&self, server: Server) -> &str {
        match server {
            Server::Webhook => &self.settings.webhook_secret,
            Server::Hub => &self.settings.hub_secret,
        }
    }

    async fn create(&self, name: &str, kind: &str, data: Data) -> Result<(), StoreError> {
        let mut secret = Secret { type_: Some(kind.to_owned()), data: Some(bytes(data)), ..Secret::default() };
        secret.metadata.name = Some(name.to_owned());
        secret.labels_mut().insert("app.kubernetes.io/managed-by".to_owned(), "agentrun-operator".to_owned());
        match self.secrets().create(&PostParams::default(), &secret).await {
            Ok(_) => {
                tracing::info!(secret = name, "made certificates");
                Ok(())
            }
            // Another replica was first: the watch brings what it made.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(StoreError::Create(name.to_owned(), error)),
        }
    }

    /// Replaces exactly the version that was seen.
    async fn replace(&self, seen: Option<&Option<Box<Secret>>>, data: Data) -> Result<(), StoreError> {
        let Some(Some(secret)) = seen else { return Ok(()) };
        let mut secret = (**secret).clone();
        secret.data = Some(bytes(data));
        secret.annotations_mut().remove(ROTATE_ANNOTATION);
        let name = secret.name_any();
        match self.secrets().replace(&name, &PostParams::default(), &secret).await {
            Ok(_) => {
                tracing::info!(secret = name, "renewed certificates");
                Ok(())
            }
            // It has changed since: the watch brings the change, and the plan is made again.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(StoreError::Replace(name, error)),
        }
    }

    /// Writes the bundle into each webhook by its name; nothing else of the configuration is touched, as it is the chart's.
    async fn trust<K>(&self, kind: &'static str, seen: Option<&Option<Bundles>>, bundle: &[u8]) -> Result<(), StoreError>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let Some(Some(webhooks)) = seen else { return Ok(()) };
        let stale = webhooks.iter().filter(|(_, present)| present != bundle);
        let encoded = STANDARD.encode(bundle);
        let patches: Vec<Value> = stale.map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": encoded}})).collect();
        if patches.is_empty() {
            return Ok(());
        }
        let name = &self.settings.configuration;
        let patch = Patch::Strategic(json!({"webhooks": patches}));
        let patched = Api::<K>::all(self.client.clone()).patch(name, &PatchParams::default(), &patch).await;
        patched.map_err(|error| StoreError::Trust(kind, name.clone(), error))?;
        tracing::info!(configuration = name, kind, "told the API server what to trust");
        Ok(())
    }
}

/// A watch of one object that goes on through errors.
fn steady<K, S>(stream: S, event: impl Fn(Option<K>) -> Event + Send + 'static) -> BoxStream<'static, Event>
where
    K: Send + 'static,
    S: futures::Stream<Item = kube::runtime::watcher::Result<Option<K>>> + Send + 'static,
{
    let told = stream.default_backoff().filter_map(move |item| {
        let event = match item {
            Ok(object) => Some(event(object)),
            Err(error) => {
                tracing::warn!(error = %crate::sentence(&error), "a watch of certificates broke");
                None
            }
        };
        futures::future::ready(event)
    });
    told.boxed()
}

fn data(secret: &Secret) -> Data {
    secret.data.iter().flatten().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

fn bytes(data: Data) -> BTreeMap<String, ByteString> {
    data.into_iter().map(|(name, value)| (name, ByteString(value))).collect()
}
