//! Deleting many objects with one request.

use http::HeaderValue;
use http::header::ACCEPT;
use kube::api::{DeleteParams, ListParams};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Error, Resource};
use serde::de::IgnoredAny;

/// The API server answers with every object that it deletes. Nobody reads them, so it is asked for what is least: whole pods of a large run would
/// take more memory than all that the operator holds.
const LEAST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Deletes the objects of a namespace that a selector takes.
///
/// # Errors
/// The API server's.
pub async fn delete<K>(client: &Client, namespace: &str, params: &DeleteParams, which: &ListParams) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let mut request = Request::new(K::url_path(&(), Some(namespace))).delete_collection(params, which).map_err(Error::BuildRequest)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(LEAST));
    client.request::<IgnoredAny>(request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn what_was_deleted_is_not_read_and_a_refusal_is() {
        let client = crate::testing::answering(vec![("/api/v1/namespaces/evals/pods", 200, json!({"items": "whatever they are"}))]);
        let (params, which) = (DeleteParams::background(), ListParams::default().labels("agentrun.dev/run=math"));
        delete::<Pod>(&client, "evals", &params, &which).await.unwrap();
        let refused = delete::<Pod>(&client, "others", &params, &which).await.unwrap_err();
        assert!(matches!(&refused, Error::Api(status) if status.code == 404), "{refused:?}");
    }
}
