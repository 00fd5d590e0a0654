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
