//! A client of bare bytes: what no SDK would send.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long anything on the wire may take before a test gives up: a proxy that hangs fails the test instead of stopping the suite.
const PATIENCE: Duration = Duration::from_secs(60);

async fn patiently<T>(what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} hangs"))))
}

/// An answer in HTTP/1.1, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers, names as they came.
    pub head: String,
    /// The body, without its chunks' frames.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; its name is looked for without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }
}

/// Connects to `proxy` and asks for a tunnel to `authority`.
///
/// # Errors
/// The connection fails, or the answer is not 200: its head is the error's text.
pub async fn tunnel(proxy: SocketAddr, authority: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n").as_bytes()).await?;
    let head = patiently("CONNECT", head(&mut stream)).await?;
    if head.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(io::Error::other(head)) }
}

/// TLS as `name`, trusting the authorities in `ca_pem` alone.
///
/// # Errors
/// The handshake fails.
pub async fn tls<S: AsyncRead + AsyncWrite + Unpin>(stream: S, ca_pem: &str, name: &str, alpn: &[&str]) -> io::Result<TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    patiently("a TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// A stream that sends its first bytes one by one, each a while after the other, and all else as it comes.
pub fn slow_start(stream: TcpStream, bytes: usize, pause: Duration) -> DuplexStream {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let mut stream = stream;
        let mut byte = [0];
        for _ in 0..bytes {
            if far.read_exact(&mut byte).await.is_err() || stream.write_all(&byte).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        // Either side's end ends the other.
        tokio::io::copy_bidirectional(&mut far, &mut stream).await.ok();
    });
    near
}

/// A request for a chat completion, head and body.
pub fn chat(host: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes and reads one answer.
///
/// # Errors
/// The connection ends before the answer does.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> io::Result<Answer> {
    patiently("a request", async {
        stream.write_all(request).await?;
        stream.flush().await
    })
    .await?;
    answer(stream, true).await
}

/// Reads one answer. Without `has_body` (a HEAD, a 304) it ends with its head.
///
/// # Errors
/// The connection ends before the answer does, or it is none.
pub async fn answer<S: AsyncRead + Unpin>(stream: &mut S, has_body: bool) -> io::Result<Answer> {
    patiently("an answer", read_answer(stream, has_body)).await
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S, has_body: bool) -> io::Result<Answer> {
    let head = head(stream).await?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other(head.clone()))?;
    let mut answer = Answer { status, head, body: Vec::new() };
    if !has_body || status == 204 || status == 304 || status < 200 {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        answer.body = vec![0; length.parse().map_err(io::Error::other)?];
        stream.read_exact(&mut answer.body).await?;
    } else if answer.header("transfer-encoding").is_some() {
        loop {
            let line = until(stream, b"\r\n").await?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await?;
            if length == 0 {
                break;
            }
            answer.body.extend_from_slice(&chunk[..length]);
        }
    } else {
        stream.read_to_end(&mut answer.body).await?;
    }
    Ok(answer)
}

async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    until(stream, b"\r\n\r\n").await
}

async fn until<S: AsyncRead + Unpin>(stream: &mut S, end: &[u8]) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(stream.read_u8().await?);
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}
