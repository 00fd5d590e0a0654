//! Connections that are read: TLS with a certificate of ours, then HTTP.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::AlertDescription;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    drain::Drain,
    exchange::exchange,
    front::{Connection, buffered::Buffered},
};

/// Serves TLS as the host that the connection was opened for; where the client means another one, as that one, so that it can
/// be told instead of failing the handshake.
pub(crate) async fn tls(connection: Connection, stream: Buffered<TcpStream>) -> io::Result<()> {
    let host =
        connection.opened_for.as_ref().map(|opened| opened.disagreement.as_ref().unwrap_or(&opened.host).clone()).unwrap_or_default();
    let config = connection.proxy.authority.server_config(&host).map_err(io::Error::other)?;
    let accepting = TlsAcceptor::from(config).accept(stream);
    let stream = timeout(connection.proxy.limits.head_timeout, accepting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let stream = stream.inspect_err(|error| distrusted(&connection, &host, why(error)))?;
    let asked = Arc::new(AtomicBool::new(false));
    let served = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http2(connection.clone(), stream, asked.clone()).await,
        _ => http1(connection.clone(), stream, asked.clone()).await,
    };
    if !asked.load(Ordering::Relaxed) && !connection.live.drain.is_closing() {
        // Node looks at a certificate only after the handshake, and those that pin one do too.
        distrusted(&connection, &host, "no_request");
    }
    served
}

/// Serves plain HTTP/1.1.
pub(crate) async fn plain(connection: Connection, stream: Buffered<TcpStream>) -> io::Result<()> {
    http1(connection, stream, Arc::default()).await
}

/// Counts a client that broke off over our certificate, and says so once for each host.
///
/// Its next connection is intercepted like this one. A tunnel in its place would let the call through unseen: a trial would look good whose
/// calls were neither recorded nor counted as cost. The agent sees its own TLS error, and whoever runs it sees the count: in the metrics, in the
/// session's totals, and in what the hub is told at the trial's end.
fn distrusted(connection: &Connection, host: &str, reason: &'static str) {
    let proxy = &connection.proxy;
    let hosts = proxy.hosts();
    let (Some(opened), Some(provider)) = (&connection.opened_for, hosts.find(host)) else { return };
    proxy.metrics.handshake_failed(&provider.name, opened.capture, reason);
    connection.live.count_failed_handshake();
    if proxy.distrusted.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned()) {
        tracing::warn!(
            host,
            reason,
            "a client broke off before its first request: it does not trust our certificate; see the base-url layer"
        );
    }
}

/// The name of what ended a handshake.
fn why(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        )) => "certificate_refused",
        Some(_) => "protocol",
        None => "closed",
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Connection,
    stream: S,
    asked: Arc<AtomicBool>,
) -> io::Result<()> {
    let limits = connection.proxy.limits.clone();
    let drain = connection.live.drain.clone();
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        exchange(connection.clone(), request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes.max(8 << 10))
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    until_closed(serving, http1::UpgradeableConnection::graceful_shutdown, &drain).await
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Connection,
    stream: S,
    asked: Arc<AtomicBool>,
) -> io::Result<()> {
    let limits = connection.proxy.limits.clone();
    let drain = connection.live.drain.clone();
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        asked.store(true, Ordering::Relaxed);
        exchange(connection.clone(), request)
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .adaptive_window(true)
        .serve_connection(TokioIo::new(stream), service);
    until_closed(serving, http2::Connection::graceful_shutdown, &drain).await
}

/// Serves a connection to its end; when the door closes, its running calls may still end.
pub(crate) async fn until_closed<C: Future<Output = hyper::Result<()>>>(
    serving: C,
    close: fn(Pin<&mut C>),
    drain: &Drain,
) -> io::Result<()> {
    tokio::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = drain.closing() => {
            close(serving.as_mut());
            tokio::select! {
                served = serving => served,
                // The grace is over. Dropped, calls record that they were cut off.
                () = drain.ended() => Ok(()),
            }
        }
    };
    served.map_err(io::Error::other)
}
