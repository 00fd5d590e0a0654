//! The API server, asked with the hub's own service account.

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
        batch::v1::Job,
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use super::{Cluster, LookupError, Review};
use crate::identity::{Facts, Owner};

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The API server. It needs `create tokenreviews`, `get pods` and `get jobs`.
#[derive(Clone)]
pub struct Kubernetes(
    /// How it is reached.
    pub Client,
);

impl Cluster for Kubernetes {
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> BoxFuture<'a, Result<Option<Review>, LookupError>> {
        async move {
            let spec = TokenReviewSpec { audiences: Some(vec![audience.to_owned()]), token: Some(token.to_owned()) };
            let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
            let reviews = Api::<TokenReview>::all(self.0.clone());
            let reviewed = reviews.create(&PostParams::default(), &review).await.map_err(failed("a token's owner"))?;
            Ok(reviewed.status.and_then(|status| accepted(status, audience)))
        }
        .boxed()
    }

    fn pod<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        async move {
            let pod = Api::<Pod>::namespaced(self.0.clone(), namespace).get_metadata_opt(name).await;
            pod.map(|pod| pod.map(|pod| facts(&pod.metadata))).map_err(failed("a pod"))
        }
        .boxed()
    }

    fn job<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Result<Option<Facts>, LookupError>> {
        async move {
            let job = Api::<Job>::namespaced(self.0.clone(), namespace).get_metadata_opt(name).await;
            job.map(|job| job.map(|job| facts(&job.metadata))).map_err(failed("a Job"))
        }
        .boxed()
    }
}

/// Whose token it is. A server that does not name the audience did not check it.
fn accepted(status: TokenReviewStatus, audience: &str) -> Option<Review> {
    let meant = status.audiences.unwrap_or_default().iter().any(|one| one == audience);
    if !meant || status.authenticated != Some(true) {
        return None;
    }
    let user = status.user?;
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| extra.get(key).and_then(|values| values.first()).cloned();
    let pod = one(POD_NAME).zip(one(POD_UID));
    Some(Review { username: user.username?, pod })
}

fn facts(metadata: &ObjectMeta) -> Facts {
    let mut owners = metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true)).map(|owner| Owner {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    });
    Facts {
        uid: metadata.uid.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        controller,
    }
}

/// The reason is the API server's own; a request's body, which may hold a token, is not part of it.
fn failed(what: &'static str) -> impl Fn(kube::Error) -> LookupError {
    move |error| match error {
        // The text of this one repeats the whole answer.
        kube::Error::Api(status) => LookupError { what, reason: status.message },
        error => LookupError { what, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(audiences: &[&str], authenticated: bool) -> TokenReviewStatus {
        let extra = [(POD_NAME, "pod"), (POD_UID, "uid")].map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        let user =
            UserInfo { username: Some("system:serviceaccount:team:default".into()), extra: Some(extra.into()), ..UserInfo::default() };
        TokenReviewStatus {
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            authenticated: Some(authenticated),
            error: None,
            user: Some(user),
        }
    }

    #[test]
    fn an_answer_counts_only_for_our_audience() {
        let review = accepted(status(&["other", "agentrun-hub"], true), "agentrun-hub").unwrap();
        assert_eq!(review.pod, Some(("pod".into(), "uid".into())));
        assert_eq!(accepted(status(&["other"], true), "agentrun-hub"), None);
        assert_eq!(accepted(status(&[], true), "agentrun-hub"), None);
        assert_eq!(accepted(status(&["agentrun-hub"], false), "agentrun-hub"), None);
    }
}
