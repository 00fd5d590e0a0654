//! What is dropped before anything is stored or logged.

use std::borrow::Cow;
use std::sync::OnceLock;

use percent_encoding::percent_decode_str;
use regex::{Captures, Regex};

/// What stands where a secret was cut from a text.
pub const CUT: &str = "[cut]";

/// Names of credentials, in lower case and without `-` and `_`: these, and all that start or end with one of those below. Names like `page_token` are none.
const SECRET_NAMES: [&str; 16] = [
    "key",
    "auth",
    "authorization",
    "token",
    "jwt",
    "sig",
    "signature",
    "code",
    "secret",
    "password",
    "passwd",
    "pwd",
    "credential",
    "credentials",
    "awsaccesskeyid",
    "googleaccessid",
];
const SECRET_BEGINNINGS: [&str; 2] = ["xamz", "xgoog"];
const SECRET_ENDS: [&str; 11] = [
    "apikey",
    "accesstoken",
    "authtoken",
    "idtoken",
    "refreshtoken",
    "sessiontoken",
    "securitytoken",
    "clientsecret",
    "subscriptionkey",
    "secretkey",
    "accesskey",
];

/// Headers that hold credentials, in lower case; besides these, all that end with `token`, `secret` or an end above.
const SECRET_HEADERS: [&str; 7] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "set-cookie2", "authentication-info", "proxy-authentication-info"];

/// Headers that hold for one connection or one transfer: RFC 9110 §7.6.1 and what describes the bytes on the wire rather than the answer.
const TRANSFER_HEADERS: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "www-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "alt-svc",
    "date",
    "retry-after",
];

/// The URL (absolute, or a path with a query) without user name and password, without the fragment, and without the query parameters that hold credentials. Everything
/// else stays as it is written.
pub fn url(url: &str) -> String {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let (before, query) = url.split_once('?').map_or((url, None), |(before, query)| (before, Some(query)));
    let mut clean = without_user(before).into_owned();
    let kept: Vec<&str> = query.unwrap_or_default().split(['&', ';']).filter(|parameter| !is_secret_parameter(parameter)).collect();
    // A query of empty parameters alone is no query; else a cut one would leave a lone question mark.
    if kept.iter().any(|parameter| !parameter.is_empty()) {
        clean.push('?');
        clean.push_str(&kept.join("&"));
    }
    clean
}

/// Whether a header's value is a credential.
pub fn is_secret_header(name: &str) -> bool {
    let plain = plain_name(name);
    SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str())
        || ["token", "secret"].iter().chain(&SECRET_ENDS).any(|end| plain.ends_with(end))
}

/// Whether an answer's header is stored with the answer and sent again on a hit.
///
/// Dropped are credentials and cookies, what holds for one connection or transfer, and what was true only at that moment: `date`, `retry-after` and the rate limit's
/// state, which would make clients slow down for nothing. Kept is the rest, request ids too: SDKs show them, and they lead to the call that was paid.
pub fn stored_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !is_secret_header(&name) && !TRANSFER_HEADERS.contains(&name.as_str()) && !name.contains("ratelimit") && !name.contains("rate-limit")
}

/// The text with what looks like a credential cut: keys by their known beginnings, tokens after `Bearer` and `Basic`, user names and passwords in URLs, and the values of
/// secret query parameters. For sentences of errors, which providers and libraries like to fill with such things.
pub fn text(text: &str) -> Cow<'_, str> {
    static SECRETS: OnceLock<Regex> = OnceLock::new();
    let secrets = SECRETS.get_or_init(|| Regex::new(SECRETS_PATTERN).expect("the pattern is tested"));
    secrets.replace_all(text, |found: &Captures<'_>| {
        let whole = &found[0];
        match found.name("scheme") {
            Some(scheme) if is_word(&whole[scheme.len()..]) => whole.to_owned(),
            Some(scheme) => format!("{}{CUT}", scheme.as_str()),
            None => format!("{}{CUT}", found.name("before").or(found.name("slashes")).map_or("", |before| before.as_str())),
        }
    })
}

const SECRETS_PATTERN: &str = concat!(
    r"(?-u)",
    // OpenAI, Anthropic, OpenRouter, DeepSeek; also the shortened form that OpenAI's errors quote.
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_*-]{6,}",
    // Google, AWS, Groq, xAI, Perplexity, Cerebras, Fireworks, Hugging Face, Replicate, GitHub.
    r"|\bAIza[A-Za-z0-9_-]{10,}|\bya29\.[A-Za-z0-9_.-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"|\b(?:gsk_|xai-|pplx-|csk-|fw_|hf_|r8_|ghp_|gho_|github_pat_)[A-Za-z0-9_-]{10,}",
    // JSON web tokens.
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
    r"|(?P<scheme>\b(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
    r"|(?P<before>[?&;](?i:[a-z_-]*key|[a-z_-]*token|sig|signature|x-amz-[a-z-]+|code|[a-z_-]*secret|password)=)(?u:[^&;\x00-\x20\x22'<>)]+)",
    r"|(?P<slashes>://)[A-Za-z0-9._~%!$&'()*+,;=:-]+@",
);

/// Whether what follows `Bearer` is prose: lower-case letters, and not too many.
fn is_word(text: &str) -> bool {
    text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

fn without_user(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let authority_end = rest.find(['/', '\\']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://{}", &rest[at + 1..])),
        None => Cow::Borrowed(url),
    }
}

/// Whether a query parameter, `NAME=VALUE` as it is written, is a credential.
pub fn is_secret_parameter(parameter: &str) -> bool {
    let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
    let name = plain_name(&percent_decode_str(name).decode_utf8_lossy());
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

fn plain_name(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_lose_their_credentials_and_nothing_else() {
        let cases = [
            ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
            (
                "https://h/v1beta/models/g:streamGenerateContent?alt=sse&key=AIza1",
                "https://h/v1beta/models/g:streamGenerateContent?alt=sse",
            ),
            ("https://h/m?key=AIza1", "https://h/m"),
            ("https://h/m?", "https://h/m"),
            ("/m?Api-Key=1&api-version=2024-10-21&api_key=2&apikey=3&ApiKey=4", "/m?api-version=2024-10-21"),
            ("/m?k%65y=1&b=%20&access_token=2&pageToken=3&page_token=4", "/m?b=%20&pageToken=3&page_token=4"),
            ("/m?X-Amz-Signature=1&X-Amz-Credential=2&x-amz-date=3&a", "/m?a"),
            ("/m?a=1;key=2&key", "/m?a=1"),
            ("/m?sig=1&se=2&code=3#key=4", "/m?se=2"),
            ("/m?subscription-key=1&keyword=2&keys=3", "/m?keyword=2&keys=3"),
            ("https://user:pass@h:8443/a@b?c=@", "https://h:8443/a@b?c=@"),
            ("https://a@b@h/", "https://h/"),
            ("http://user:p?key=1@h/", "http://user:p"),
            ("", ""),
        ];
        for (given, expected) in cases {
            assert_eq!(url(given), expected, "{given}");
        }
    }

    #[test]
    fn headers_are_judged_by_name() {
        let secret = [
            "Authorization",
            "x-api-key",
            "API-Key",
            "x-goog-api-key",
            "X-Amz-Security-Token",
            "Ocp-Apim-Subscription-Key",
            "Cookie",
            "X-Vault-Token",
        ];
        let stored =
            ["content-type", "x-request-id", "request-id", "x-amzn-requestid", "openai-processing-ms", "openai-version", "cache-control"];
        let passing = [
            "Set-Cookie",
            "Connection",
            "transfer-encoding",
            "Content-Length",
            "content-encoding",
            "Date",
            "Retry-After",
            "x-ratelimit-remaining-tokens",
        ];
        for name in secret {
            assert!(is_secret_header(name) && !stored_header(name), "{name}");
        }
        for name in stored {
            assert!(!is_secret_header(name) && stored_header(name), "{name}");
        }
        for name in passing {
            assert!(!stored_header(name), "{name}");
        }
    }

    #[test]
    fn texts_lose_what_looks_like_a_credential() {
        let cases = [
            ("Incorrect API key provided: sk-proj-abc123DEF456. See", "Incorrect API key provided: [cut]. See"),
            ("key sk-abcd****wxyz", "key [cut]"),
            ("AIzaSyA1234567890abcdef is bad", "[cut] is bad"),
            ("Authorization: Bearer abc.DEF-123456", "Authorization: Bearer [cut]"),
            ("basic authentication failed", "basic authentication failed"),
            ("token eyJhbGciOiJI.eyJzdWIi.c2ln expired", "token [cut] expired"),
            ("GET https://u:p@h/a?b=1&api_key=xyz123&c=2 (refused)", "GET https://[cut]h/a?b=1&api_key=[cut]&c=2 (refused)"),
            ("AKIAIOSFODNN7EXAMPLE", "[cut]"),
            ("a task-oriented model, risk-averse", "a task-oriented model, risk-averse"),
            ("connection refused: 127.0.0.1:443", "connection refused: 127.0.0.1:443"),
            ("schlüssel sk-übel", "schlüssel sk-übel"),
        ];
        for (given, expected) in cases {
            assert_eq!(text(given), expected);
        }
    }

    proptest! {
        #[test]
        fn cutting_twice_cuts_no_more(given in any::<String>(), query in "[?&;=key%0-9a#@:/]{0,30}") {
            let once = url(&format!("{given}{query}"));
            prop_assert_eq!(url(&once), once);
            text(&given);
        }
    }
}
