//! The entrances: what a connection is, by its first bytes, and where it goes.

use std::{io, sync::Arc, time::Duration};

use agentrun_llm::call::Capture;
use http::uri::{Authority, Scheme};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    front::buffered::Buffered,
    intercept,
    proxy::Proxy,
    session::Live,
    target::{self, OpenedFor},
};

pub(crate) mod buffered;
mod dns;
mod head;
mod hello;
mod tunnel;

/// How long accepting waits after it failed: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// A client's connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) live: Arc<Live>,
    /// The one host that requests may be for; `None` where each request names its own.
    pub(crate) opened_for: Option<OpenedFor>,
}

/// What a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// CONNECT, requests in absolute form, and base URLs.
    Proxy,
    /// TLS from the first byte, from clients whose name resolution leads here.
    Dns,
}

/// Accepts connections of one session until its door closes.
pub(crate) async fn accept(proxy: Arc<Proxy>, live: Arc<Live>, listener: TcpListener, entrance: Entrance) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = live.drain.closing() => return,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if !live.session.takes(peer.ip()) {
            proxy.metrics.refused(Capture::Session, "other_client");
            tracing::debug!(%peer, "a connection from elsewhere than its session is refused");
            continue;
        }
        // Not before: a port that waits for its first connection is to take no room from the others'.
        let permit = tokio::select! {
            permit = proxy.connections.clone().acquire_owned() => permit.expect("it is never closed"),
            () = live.drain.closing() => return,
        };
        let (proxy, live) = (proxy.clone(), live.clone());
        tokio::spawn(async move {
            proxy.metrics.connections.inc();
            let _used = live.used();
            if let Err(error) = serve(&proxy, live.clone(), stream, entrance).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            proxy.metrics.connections.dec();
            drop(permit);
        });
    }
}

/// Serves one connection: CONNECT is answered here, everything else is HTTP for [`intercept`].
async fn serve(proxy: &Arc<Proxy>, live: Arc<Live>, stream: TcpStream, entrance: Entrance) -> io::Result<()> {
    // hyper writes head and body apart; with Nagle's algorithm the second would wait 40 ms for the client's acknowledgement.
    stream.set_nodelay(true)?;
    let mut stream = Buffered::new(stream);
    let limits = &proxy.limits;
    let connection = Connection { proxy: proxy.clone(), live, opened_for: None };
    if entrance == Entrance::Dns {
        return dns::serve(connection, stream).await;
    }
    let Ok(head) = timeout(limits.head_timeout, head::connect(&mut stream, limits.head_bytes)).await else { return Ok(()) };
    match head {
        Ok(None) => intercept::plain(connection, stream).await,
        Ok(Some(authority)) => connect(connection, stream, &authority).await,
        Err(head::HeadError::Read(error)) => Err(error),
        Err(refused) => {
            let status = refused.status();
            let text = format!("agentrun: {refused}\n");
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        }
    }
}

/// CONNECT: hosts that are read are intercepted, whatever the client sends first; all others get a tunnel.
async fn connect(mut connection: Connection, mut stream: Buffered<TcpStream>, authority: &Authority) -> io::Result<()> {
    let (host, port) = target::split(authority);
    let port = port.unwrap_or(443);
    let hosts = connection.proxy.hosts();
    let known = hosts.find(&host).is_some();
    if !connection.proxy.open_to_connect {
        return stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
    let upstream = if known { None } else { Some(dial(&connection, &mut stream, &host, port).await?) };
    if matches!(upstream, Some(None)) {
        return Ok(());
    }
    stream.write_all(ESTABLISHED).await?;
    let mut upstream = upstream.flatten();
    if let Some(server) = &mut upstream
        && server_speaks_first(&mut stream, server).await?
    {
        return pass(&connection, stream, upstream, &host, Capture::Connect).await;
    }
    let Ok(hello) = timeout(connection.proxy.limits.head_timeout, hello::read(&mut stream)).await else { return Ok(()) };
    let hello = hello?;
    let named = hello.sni().is_some_and(|sni| hosts.find(sni).is_some());
    if !known && !named {
        return pass(&connection, stream, upstream, &host, Capture::Connect).await;
    }
    drop(upstream);
    let sni = hello.sni().map(str::to_owned);
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    // A client that resolved the name itself opens a tunnel to an address; the name it means is in the SNI.
    let (host, disagreement) = match sni {
        Some(sni) if is_address => (sni, None),
        Some(sni) if sni != host => (host, Some(sni)),
        _ => (host, None),
    };
    let scheme = if hello.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
    connection.opened_for = Some(OpenedFor { scheme, host, port, capture: Capture::Connect, disagreement });
    if hello.is_tls() { intercept::tls(connection, stream).await } else { intercept::plain(connection, stream).await }
}

/// Connects to a host that is not read; answers the CONNECT with an error, and gives `None`, when that fails.
async fn dial(connection: &Connection, stream: &mut Buffered<TcpStream>, host: &str, port: u16) -> io::Result<Option<TcpStream>> {
    match connection.proxy.network.tunnel(host, port).await {
        Ok(upstream) => Ok(Some(upstream)),
        Err(error) => {
            let text = format!("agentrun: {error}\n");
            let answer = format!(
                "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            Ok(None)
        }
    }
}

/// Waits for whoever speaks first. A server that does is no TLS server, so there is nothing to look for.
async fn server_speaks_first(client: &mut Buffered<TcpStream>, server: &mut TcpStream) -> io::Result<bool> {
    if !client.buffer().is_empty() {
        return Ok(false);
    }
    tokio::select! {
        biased;
        filled = client.fill() => filled.map(|_| false),
        readable = server.readable() => readable.map(|()| true),
    }
}

async fn pass(
    connection: &Connection,
    client: Buffered<TcpStream>,
    upstream: Option<TcpStream>,
    host: &str,
    capture: Capture,
) -> io::Result<()> {
    let Some(upstream) = upstream else { return Ok(()) };
    let copied = tokio::select! {
        copied = tunnel::copy(client, upstream) => copied,
        () = connection.live.drain.ended() => Ok((0, 0)),
    };
    let bytes = copied.as_ref().map_or(0, |(sent, received)| sent + received);
    connection.proxy.metrics.tunnelled(capture, bytes);
    tracing::debug!(host, ?copied, "tunnel ended");
    copied.map(drop)
}
