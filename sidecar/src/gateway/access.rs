//! Who may ask: a web page may not, whatever name it gives this machine; others need the token, where there is one.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    extract::{Request, State as Shared},
    middleware::Next,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header, uri::Authority};
use thiserror::Error;

use super::{State, refusal::Refusal};
use crate::target;

/// The path that is open to all: whoever looks after the process has no token.
const OPEN: &str = "/health";
/// A token is a line; more is a file of something else.
const TOKEN_BYTES: u64 = 4096;

/// What callers must show.
#[derive(Clone)]
pub struct Token(String);

/// Why a token cannot be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its file holds no token.
    #[error("{0} holds no token: write one line of 16 to 4096 visible ASCII characters, as from `openssl rand -hex 32`")]
    Content(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

impl Token {
    /// The token in a file, without the space around it.
    ///
    /// # Errors
    /// It cannot be read, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(fs::File::open(path).map_err(failed)?, TOKEN_BYTES + 2), &mut text).map_err(failed)?;
        let token = text.trim();
        if token.len() < 16 || token.len() as u64 > TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Content(path.to_owned()));
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether `shown` is it. The time taken tells the length of what was shown, and nothing else.
    fn is(&self, shown: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = shown.iter().enumerate().fold(0, |found, (index, byte)| found | (byte ^ own[index % own.len()]));
        differences == 0 && shown.len() == own.len()
    }
}

/// Who may ask.
pub(super) struct Access {
    token: Option<Token>,
    names: Option<Vec<String>>,
}

impl Access {
    /// `names`: what this machine is called beside its loopback names and `address`; `None`: whatever callers call it.
    pub(super) fn new(token: Option<Token>, names: Option<Vec<String>>, address: SocketAddr) -> Self {
        let names = names.map(|names| names.into_iter().map(|name| name.to_ascii_lowercase()).chain([address.ip().to_string()]).collect());
        Self { token, names }
    }

    /// Lets a request in, or says why not.
    fn check(&self, path: &str, authority: Option<&Authority>, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = host(authority, headers)?;
        if let Some(host) = &host
            && !self.is_ours(&target::split(host).0)
        {
            let text = format!("this gateway is not called {}; ask it by localhost or by its address", target::split(host).0);
            return Err(Refusal::Foreign(text));
        }
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let own = |origin: &str| host.as_ref().is_some_and(|host| origin == format!("http://{host}"));
        if text("origin").is_some_and(|origin| !own(origin))
            || text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
        {
            return Err(Refusal::Foreign("web pages may not ask this gateway".to_owned()));
        }
        match &self.token {
            Some(token) if path != OPEN && !shown(headers).is_some_and(|shown| token.is(&shown)) => Err(Refusal::Unknown),
            _ => Ok(()),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(names) = &self.names else { return true };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || names.iter().any(|name| name == host)
    }
}

/// The host that a request is for. HTTP/1.0 need not name one.
fn host(authority: Option<&Authority>, headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    if let Some(authority) = authority {
        return Ok(Some(authority.clone()));
    }
    let Some(named) = headers.get(header::HOST) else { return Ok(None) };
    let read = named.to_str().ok().and_then(|named| named.parse().ok());
    read.map(Some).ok_or_else(|| Refusal::Mistake("the `Host` header names no host".to_owned()))
}

/// The token that a request shows: as a bearer's, or as the password of a URL.
fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    let pair = BASE64_STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// Stands before every path, those that do not exist included.
pub(super) async fn guard(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Result<Response, Refusal> {
    state.access.check(request.uri().path(), request.uri().authority(), request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn told(access: &Access, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect();
        match access.check(path, None, &headers) {
            Ok(()) => 200,
            Err(Refusal::Foreign(_)) => 403,
            Err(Refusal::Unknown) => 401,
            Err(Refusal::Mistake(_)) => 400,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_web_page_is_refused_whatever_it_calls_this_machine() {
        let access = Access::new(None, Some(vec!["Gate.internal".to_owned()]), "10.0.0.7:9000".parse().unwrap());
        for host in
            ["localhost:9000", "127.0.0.1:1", "127.9.9.9", "[::1]:9000", "10.0.0.7:9000", "gate.internal", "LOCALHOST", "localhost."]
        {
            assert_eq!(told(&access, "/records", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:9000", "10.0.0.8:9000", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert_eq!(told(&access, "/health", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(told(&access, "/records", &[("host", "a b")]), 400);
        assert_eq!(told(&access, "/records", &[]), 200);
        let from = |name: &'static str, value: &str| told(&access, "/sessions", &[("host", "localhost:9000"), (name, value)]);
        assert_eq!(from("origin", "http://localhost:9000"), 200);
        for origin in ["http://evil.example", "null", "http://localhost:9001", "https://localhost:9000", "http://localhost"] {
            assert_eq!(from("origin", origin), 403, "{origin}");
        }
        assert_eq!(from("sec-fetch-site", "cross-site"), 403);
        assert_eq!(from("sec-fetch-site", "none"), 200);
    }

    #[test]
    fn a_token_is_shown_as_a_bearers_or_in_the_url() {
        let access = Access::new(Some(Token(SECRET.to_owned())), None, "0.0.0.0:9000".parse().unwrap());
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for (shown, expected) in [
            (format!("Bearer {SECRET}"), 200),
            (format!("bearer  {SECRET}"), 200),
            (basic(&format!("agentrun:{SECRET}")), 200),
            (basic(&format!(":{SECRET}")), 200),
            (basic(SECRET), 401),
            (format!("Bearer {SECRET}{SECRET}"), 401),
            (format!("Bearer {}", &SECRET[1..]), 401),
            ("Bearer ".to_owned(), 401),
            ("Bearer 0123456789abcdeF".to_owned(), 401),
            (format!("Token {SECRET}"), 401),
            ("Basic ???".to_owned(), 401),
        ] {
            let headers = [("host", "any.name:9000"), ("authorization", shown.as_str())];
            assert_eq!(told(&access, "/sessions", &headers), expected, "{shown}");
        }
        assert_eq!(told(&access, "/sessions", &[]), 401);
        assert_eq!(told(&access, "/health", &[]), 200);
        assert_eq!(told(&access, "/health/", &[]), 401);
        assert_eq!(format!("{:?}", access.token), "Some(Token)");
    }

    #[test]
    fn a_token_is_one_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Read { .. })));
        for wrong in ["", "short", "two words that are long", "ends with a zero byte\0", &"x".repeat(5000)] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(Token::read(&path), Err(TokenError::Content(_))), "{wrong:?}");
        }
        fs::write(&path, format!("{SECRET}\n")).unwrap();
        assert!(Token::read(&path).unwrap().is(SECRET.as_bytes()));
    }
}
