//! What the controller is woken by: AgentRuns that change, their Jobs, and pods of theirs that failed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate as _, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::{pause, reconcile};
use crate::context::{Context, resource};
use crate::pods::FailedPods;
use crate::slim_pod::SlimPod;

/// The watches that a controller runs on.
pub struct Watches {
    jobs: Store<Job>,
    jobs_writer: reflector::store::Writer<Job>,
    failed: Arc<FailedPods>,
}

impl Default for Watches {
    fn default() -> Self {
        let (jobs, jobs_writer) = reflector::store();
        Self { jobs, jobs_writer, failed: Arc::default() }
    }
}

impl Watches {
    /// The Jobs that are watched.
    pub fn jobs(&self) -> Store<Job> {
        self.jobs.clone()
    }

    /// The failed pods that are watched.
    pub fn failed(&self) -> Arc<FailedPods> {
        self.failed.clone()
    }
}

/// Has a look taken whenever one of these changes, until it is told to stop.
pub async fn watch_runs(
    client: Client,
    namespace: Option<&str>,
    watches: Watches,
    context: Arc<Context>,
    concurrency: u16,
    stop: CancellationToken,
) {
    let runs_writer = reflector::store::Writer::new(resource());
    let runs = runs_writer.as_reader();
    let trigger = watcher(in_scope_of(&client, namespace), watcher::Config::default())
        .default_backoff()
        .modify(|object: &mut DynamicObject| object.managed_fields_mut().clear())
        .reflect(runs_writer)
        .applied_objects()
        .predicate_filter(predicates::generation.combine(predicates::labels).combine(predicates::finalizers), Default::default());
    let jobs = watcher(in_scope(&client, namespace), watcher::Config::default().labels(&managed()))
        .default_backoff()
        .modify(slim_job)
        .reflect(watches.jobs_writer)
        .touched_objects();
    let failed = watches.failed;
    let pods = watcher(in_scope(&client, namespace), watcher::Config::default().labels(&trial_pods()).fields("status.phase=Failed"))
        .default_backoff()
        .modify(slim_pod)
        .touched_objects();
    let run_of = move |pod: SlimPod| -> Option<ObjectRef<DynamicObject>> {
        let pod = Pod::from(pod);
        let name = pod.labels().get(agentrun_protocol::names::RUN_LABEL)?;
        failed.note(&pod).then(|| ObjectRef::new_with(name, resource()).within(&pod.namespace().unwrap_or_default()))
    };
    Controller::for_stream_with(trigger, runs, resource())
        .with_config(controller::Config::default().debounce(Duration::from_millis(200)).concurrency(concurrency))
        .owns_stream(jobs)
        .watches_stream(pods, run_of)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, pause, context)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(error = %crate::sentence(&error), "a look failed");
            }
        })
        .await;
}

fn in_scope<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn in_scope_of(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource()),
        None => Api::all_with(client.clone(), &resource()),
    }
}

fn managed() -> String {
    format!("{}={}", agentrun_protocol::names::MANAGED_BY_LABEL, agentrun_protocol::names::MANAGER)
}

fn trial_pods() -> String {
    format!("{},{}", managed(), agentrun_protocol::names::CHUNK_LABEL)
}

/// A pod template is most of a Job, and is not needed again.
fn slim_job(job: &mut Job) {
    job.meta_mut().managed_fields = None;
    if let Some(spec) = &mut job.spec {
        spec.template = Default::default();
        spec.pod_failure_policy = None;
    }
    if let Some(status) = &mut job.status {
        status.uncounted_terminated_pods = None;
    }
}

fn slim_pod(pod: &mut SlimPod) {
    pod.meta_mut().managed_fields = None;
}
