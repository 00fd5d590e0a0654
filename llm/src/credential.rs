//! Who pays for a call, as far as its request tells.

use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::{
    provider::split_query,
    redact::{is_secret_header, is_secret_parameter},
};

/// A name for what authenticates a request: equal for equal credentials, and of no use to whoever reads it.
///
/// SHA-256 over the request's secret headers and query parameters, by [`is_secret_header`] and [`is_secret_parameter`]. Of AWS's signatures, which differ from request to
/// request, only the access key's id counts. Cookies do not count, since providers change them at will, nor does what is meant for a proxy. `headers` are names in lower
/// case with their values.
pub fn credential<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>, path_and_query: &'a str) -> [u8; 32] {
    let mut told: Vec<(&str, &[u8])> = headers.into_iter().filter(|(name, _)| authenticates(name)).map(of_header).collect();
    let (_, query) = split_query(path_and_query);
    let parameters = query.split(['&', ';']).filter(|parameter| is_secret_parameter(parameter));
    told.extend(parameters.filter_map(of_parameter));
    told.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update("agentrun credential 1");
    for part in told.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn authenticates(name: &str) -> bool {
    let of_another = ["cookie", "set-cookie", "set-cookie2", "proxy-authorization"].contains(&name);
    is_secret_header(name) && !of_another && !name.starts_with("x-amz-")
}

/// The part of a header that stays the same from call to call.
fn of_header<'a>((name, value): (&'a str, &'a [u8])) -> (&'a str, &'a [u8]) {
    let signed = std::str::from_utf8(value).ok().filter(|value| name == "authorization" && value.starts_with("AWS4-"));
    let access_key = signed.and_then(|signed| signed.split_once("Credential=")).and_then(|(_, rest)| rest.split(['/', ',']).next());
    (name, access_key.map_or(value, str::as_bytes))
}

/// The same for a query parameter; none for those that belong to one signature.
fn of_parameter(parameter: &str) -> Option<(&str, &[u8])> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let plain = percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    match plain.strip_prefix("x-amz-") {
        None => Some((name, value.as_bytes())),
        // `ID/DATE/REGION/…`, its slashes perhaps encoded.
        Some("credential") => Some((name, value.split(['/', '%']).next().unwrap_or_default().as_bytes())),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)], path: &str) -> [u8; 32] {
        credential(headers.iter().map(|(name, value)| (*name, value.as_bytes())), path)
    }

    #[test]
    fn whatever_authenticates_counts() {
        let mut all = vec![
            of(&[], "/v1/x"),
            of(&[("authorization", "Bearer one")], "/v1/x"),
            of(&[("authorization", "Bearer two")], "/v1/x"),
            of(&[("x-api-key", "one")], "/v1/x"),
            of(&[("x-api-key", "two")], "/v1/x"),
            of(&[("api-key", "one")], "/v1/x"),
            of(&[("x-goog-api-key", "one")], "/v1/x"),
            of(&[("x-team-token", "one")], "/v1/x"),
            of(&[("authorization", "Bearer one"), ("x-api-key", "one")], "/v1/x"),
            of(&[], "/v1/x?key=one"),
            of(&[], "/v1/x?alt=sse&key=two"),
            of(&[("authorization", "AWS4-HMAC-SHA256 Credential=AKIAONE/20260101/us-east-1/bedrock/aws4_request, Signature=ab")], "/"),
            of(&[("authorization", "AWS4-HMAC-SHA256 Credential=AKIATWO/20260101/us-east-1/bedrock/aws4_request, Signature=ab")], "/"),
            of(&[], "/?X-Amz-Credential=AKIAONE%2F20260101%2Fus-east-1"),
            of(&[], "/?X-Amz-Credential=AKIATWO%2F20260101%2Fus-east-1"),
        ];
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_changes_from_call_to_call_does_not() {
        let key = ("authorization", "Bearer one");
        for (headers, path) in [
            (&[key, ("cookie", "__cf_bm=1")][..], "/v1/x"),
            (&[("user-agent", "b"), key, ("idempotency-key", "7")], "/v1/y?alt=sse"),
            (&[key, ("proxy-authorization", "Basic eA==")], "/v1/x"),
        ] {
            assert_eq!(of(headers, path), of(&[key], "/v1/x"), "{headers:?} {path}");
        }
        let signed = |date: &str, token: &str, signature: &str| {
            let value = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAONE/{date}/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature={signature}"
            );
            of(&[("x-amz-security-token", token), ("x-amz-date", date), ("authorization", &value)], "/model/m/converse")
        };
        assert_eq!(signed("20260101", "a", "ab"), signed("20260102", "b", "cd"));
        assert_eq!(of(&[], "/?X-Amz-Credential=AKIAONE%2F1&X-Amz-Signature=a"), of(&[], "/?X-Amz-Credential=AKIAONE/2&X-Amz-Signature=b"));
    }

    #[test]
    fn order_does_not_count_and_nothing_runs_together() {
        assert_eq!(of(&[("api-key", "a"), ("x-api-key", "b")], "/"), of(&[("x-api-key", "b"), ("api-key", "a")], "/"));
        assert_ne!(of(&[("api-key", "ax-api-keyb")], "/"), of(&[("api-key", "a"), ("x-api-key", "b")], "/"));
    }
}
