//! What a token says of itself. Nothing here is proof: it only spares the API server questions that it would answer with no.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::AuthError;

/// The longest token that is looked at.
const TOKEN_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Payload {
    aud: Audience,
    exp: u64,
}

/// What a token says of itself.
pub(super) struct Claims {
    audience: Vec<String>,
    /// Since the epoch.
    pub(super) expires: Duration,
}

/// Reads a token's second part, unverified.
pub(super) fn read(token: &str) -> Result<Claims, AuthError> {
    if token.is_empty() {
        return Err(AuthError::Missing);
    }
    if token.len() > TOKEN_BYTES {
        return Err(AuthError::Useless("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(AuthError::Useless("it is no service account's token"));
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|json| serde_json::from_slice::<Payload>(&json).ok());
    let payload = payload.ok_or(AuthError::Useless("it is no service account's token"))?;
    let audience = match payload.aud {
        Audience::One(audience) => vec![audience],
        Audience::Many(audience) => audience,
    };
    Ok(Claims { audience, expires: Duration::from_secs(payload.exp) })
}

impl Claims {
    /// Whether the token can be good for `audience` at `now` (since the epoch).
    pub(super) fn check(&self, audience: &str, now: Duration) -> Result<(), AuthError> {
        if self.expires <= now {
            return Err(AuthError::Useless("it has expired"));
        }
        if !self.audience.iter().any(|one| one == audience) {
            return Err(AuthError::Useless("it is meant for another audience"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn check(token: &str) -> Result<(), String> {
        let now = Duration::from_secs(1000);
        read(token).and_then(|claims| claims.check("agentrun-hub", now)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_says_whether_it_can_be_good() {
        let cases = [
            (token(r#"{"aud":["other","agentrun-hub"],"exp":1001}"#), None),
            (token(r#"{"aud":"agentrun-hub","exp":1001}"#), None),
            (token(r#"{"aud":["agentrun-hub"],"exp":1000}"#), Some("it has expired")),
            (token(r#"{"aud":["https://kubernetes.default.svc"],"exp":1001}"#), Some("it is meant for another audience")),
            (token(r#"{"aud":["agentrun-hub"]}"#), Some("it is no service account's token")),
            (token("nonsense"), Some("it is no service account's token")),
            ("e30.e30".into(), Some("it is no service account's token")),
            ("a.b.c.d".into(), Some("it is no service account's token")),
            (token(&"x".repeat(TOKEN_BYTES)), Some("it is too long")),
        ];
        for (token, reason) in cases {
            let expected = reason.map_or(Ok(()), |reason| Err(format!("the token is of no use here: {reason}")));
            assert_eq!(check(&token), expected);
        }
        assert!(matches!(read(""), Err(AuthError::Missing)));
    }
}
