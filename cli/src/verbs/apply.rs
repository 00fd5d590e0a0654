//! `agentrun apply`: a manifest is given to a cluster.

use std::path::Path;

use agentrun_crds::manifest;
use agentrun_protocol::sentence;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::{COMPLETE, Context, Refused};
use crate::{
    args,
    cluster::{Cluster, dataset, problem::Problem},
    local::plan::read_manifest,
};

/// Applies the manifest, and its dataset's file as a ConfigMap that goes with the run.
pub(crate) async fn run(arguments: args::Apply, context: &Context) -> anyhow::Result<u8> {
    let (typed, bytes) = read_manifest(&arguments.file).map_err(|error| Refused(sentence(&error)))?;
    let mut written = manifest::written(&bytes).map_err(|mistakes| Refused(mistakes.to_string()))?;
    let mut target = arguments.target.clone();
    if let (Some(named), Some(asked)) = (&typed.metadata.namespace, &target.namespace)
        && named != asked
    {
        return Err(Refused(format!("the manifest names namespace {named}, and -n names {asked}: let one of them go")).into());
    }
    target.namespace = target.namespace.or(typed.metadata.namespace);
    let home = arguments.file.parent().unwrap_or(Path::new(""));
    let config_map = dataset::take(&mut written, home).map_err(|problem| Refused(problem.to_string()))?;
    let cluster = Cluster::connect(&target).await?;
    strip(&mut written, &cluster.namespace);
    let made = match &config_map {
        Some(config_map) => cluster.keep_dataset(config_map, arguments.dry_run).await?,
        None => false,
    };
    let name = &typed.metadata.name;
    let path = format!("/apis/agentrun.dev/v1alpha1/namespaces/{}/agentruns", cluster.namespace);
    let applied = match cluster.apply(&path, &written, arguments.dry_run).await {
        Ok(applied) => applied,
        Err(problem) => {
            if let Some(config_map) = config_map.filter(|_| made && !arguments.dry_run) {
                cluster.drop_dataset(&config_map).await;
            }
            return Err(problem.into());
        }
    };
    applied.warnings.iter().for_each(|warning| context.printer.warning(warning));
    if let Some(config_map) = config_map.filter(|_| !arguments.dry_run) {
        cluster.own_dataset(config_map, &applied.object).await?;
    }
    let namespace = &cluster.namespace;
    let what = match (arguments.dry_run, applied.created) {
        (true, _) => "would be taken (dry run)",
        (false, true) => "created",
        (false, false) => "configured",
    };
    context.printer.data(format!("AgentRun `{name}` in namespace {namespace}: {what}\n").as_bytes())?;
    if !arguments.dry_run {
        context.printer.note(&format!("agentrun watch {name} -n {namespace} follows it"));
    }
    Ok(COMPLETE)
}

/// What only a cluster writes is not applied.
fn strip(manifest: &mut Value, namespace: &str) {
    if let Some(object) = manifest.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
}

impl Cluster {
    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes the dataset's ConfigMap; its name is that of its contents, so that one that is there is the same. Whether it was made.
    async fn keep_dataset(&self, config_map: &Value, dry_run: bool) -> Result<bool, Problem> {
        let object: ConfigMap = serde_json::from_value(config_map.clone()).map_err(|error| Problem::Dataset(error.to_string()))?;
        let parameters = PostParams { dry_run, field_manager: Some(crate::cluster::MANAGER.to_owned()) };
        match self.config_maps().create(&parameters, &object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A ConfigMap that was made for nothing goes again.
    async fn drop_dataset(&self, config_map: &Value) {
        let name = config_map["metadata"]["name"].as_str().unwrap_or_default();
        if let Err(error) = self.config_maps().delete(name, &DeleteParams::default()).await {
            tracing::warn!(name, %error, "the dataset's ConfigMap could not be taken away again");
        }
    }

    async fn own_dataset(&self, config_map: Value, run: &Value) -> Result<(), Problem> {
        let path = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        self.apply(&path, &dataset::owned(config_map, run), false).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_wrote_is_not_applied_again() {
        let metadata = json!({"name": "run", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}});
        let mut manifest = json!({"metadata": metadata, "spec": {}, "status": {"phase": "Complete"}});
        strip(&mut manifest, "team");
        assert_eq!(manifest, json!({"metadata": {"name": "run", "labels": {"a": "b"}, "namespace": "team"}, "spec": {}}));
    }
}
