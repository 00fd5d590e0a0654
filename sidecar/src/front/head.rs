//! The head of a connection's first request: is it a CONNECT, and whom to?

use http::{StatusCode, uri::Authority};
use thiserror::Error;
use tokio::io::AsyncRead;

use super::buffered::Buffered;

const METHOD: &[u8] = b"CONNECT ";
const HEADERS: usize = 64;

/// Why a CONNECT is not answered with a tunnel.
#[derive(Debug, Error)]
pub(crate) enum HeadError {
    #[error("read the request: {0}")]
    Read(#[from] std::io::Error),
    #[error("the CONNECT request is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the CONNECT request is malformed: {0}")]
    Malformed(httparse::Error),
    #[error("`{0}` is not HOST:PORT")]
    NoAuthority(String),
}

impl HeadError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads and takes a CONNECT request's head. `None`: the connection begins with something else, and nothing is taken.
pub(crate) async fn connect<S: AsyncRead + Unpin>(stream: &mut Buffered<S>, limit: usize) -> Result<Option<Authority>, HeadError> {
    loop {
        let parsed = parse(stream.buffer(), limit)?;
        match parsed {
            Parsed::Other => return Ok(None),
            Parsed::Connect { authority, length } => {
                stream.consume(length);
                return Ok(Some(authority));
            }
            Parsed::Partial => {}
        }
        if stream.fill().await? == 0 {
            return Ok(None);
        }
    }
}

/// What the bytes of a connection's beginning are.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// Not a CONNECT.
    Other,
    /// The beginning of a CONNECT, or nothing yet.
    Partial,
    /// A whole head of `length` bytes.
    Connect { authority: Authority, length: usize },
}

/// Reads the beginning of a connection; pure, so that it can be tried on anything.
pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Parsed, HeadError> {
    let compared = bytes.len().min(METHOD.len());
    if bytes[..compared] != METHOD[..compared] {
        return Ok(Parsed::Other);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    // What lies beyond the limit is not looked at: how much of it a read happened to bring must not matter.
    match request.parse(&bytes[..bytes.len().min(limit)]).map_err(HeadError::Malformed)? {
        httparse::Status::Partial if bytes.len() > limit => Err(HeadError::TooLarge(limit)),
        httparse::Status::Partial => Ok(Parsed::Partial),
        httparse::Status::Complete(length) => {
            let path = request.path.unwrap_or_default();
            let named = path.parse::<Authority>().ok().filter(|authority| authority.port().is_some() && !authority.host().is_empty());
            let authority = named.ok_or_else(|| HeadError::NoAuthority(path.chars().take(100).collect()))?;
            Ok(Parsed::Connect { authority, length })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    #[test]
    fn only_a_connect_is_taken() {
        for other in ["GET / HTTP/1.1\r\n\r\n", "POST http://a/ HTTP/1.1\r\n", "\x16\x03\x01", "CONNECTED", "connect a:1 HTTP/1.1\r\n\r\n"]
        {
            assert_eq!(parse(other.as_bytes(), LIMIT).unwrap(), Parsed::Other, "{other:?}");
        }
        let head = "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(parse(&head.as_bytes()[..end], LIMIT).unwrap(), Parsed::Partial, "{end}");
        }
        let with_more = format!("{head}\x16\x03");
        let Parsed::Connect { authority, length } = parse(with_more.as_bytes(), LIMIT).unwrap() else { panic!("a whole head") };
        assert_eq!((authority.as_str(), length), ("api.openai.com:443", head.len()));
    }

    #[test]
    fn bad_heads_are_refused_by_name() {
        let refused = |text: &str| parse(text.as_bytes(), LIMIT).unwrap_err();
        assert!(matches!(refused("CONNECT api.openai.com HTTP/1.1\r\n\r\n"), HeadError::NoAuthority(_)), "no port");
        assert!(matches!(refused("CONNECT :443 HTTP/1.1\r\n\r\n"), HeadError::NoAuthority(_)), "no host");
        assert!(matches!(refused("CONNECT http://a/ HTTP/1.1\r\n\r\n"), HeadError::NoAuthority(_)), "a URL");
        assert!(matches!(refused("CONNECT a:1 HTTP/1.1\r\nno colon\r\n\r\n"), HeadError::Malformed(_)));
        assert!(matches!(refused(&format!("CONNECT a:1 HTTP/1.1\r\nx: {}", "y".repeat(LIMIT))), HeadError::TooLarge(LIMIT)));
        let many = format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(HEADERS + 1));
        assert!(matches!(refused(&many), HeadError::Malformed(_)));
        let whole = format!("CONNECT a:1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(LIMIT));
        assert!(matches!(refused(&whole), HeadError::TooLarge(LIMIT)), "in one read");
    }
}
