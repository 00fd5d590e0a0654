//! The entrance for clients whose name resolution leads here (`127.0.0.1 api.openai.com`): TLS from the first byte, and the server name in the
//! ClientHello says whom it is for. It catches the clients that know nothing of proxies.

use std::io;

use agentrun_llm::call::Capture;
use http::uri::Scheme;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    Connection,
    buffered::Buffered,
    hello::{self, Hello},
    pass,
};
use crate::{intercept, target::OpenedFor};

/// The port that clients mean, whatever port we listen on.
const HTTPS: u16 = 443;

/// A fatal alert (RFC 8446, section 6), before any handshake.
const fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
/// The ClientHello names no server, so nobody can know whom it is for.
const UNRECOGNIZED_NAME: [u8; 7] = alert(112);
/// The host that is meant cannot be reached.
const INTERNAL_ERROR: [u8; 7] = alert(80);

/// Serves one connection: hosts that are read are intercepted, all others get a tunnel to the host they name.
pub(crate) async fn serve(mut connection: Connection, mut stream: Buffered<TcpStream>) -> io::Result<()> {
    let Ok(hello) = timeout(connection.proxy.limits.head_timeout, hello::read(&mut stream)).await else { return Ok(()) };
    let host = match hello? {
        Hello::Tls(Some(host)) => host,
        Hello::Tls(None) => {
            connection.proxy.metrics.refused(Capture::Dns, "no_server_name");
            tracing::warn!(
                "a client on the port for captured names sends no TLS server name: whom it means cannot be known, it is refused"
            );
            return end(stream, &UNRECOGNIZED_NAME).await;
        }
        Hello::Other => {
            connection.proxy.metrics.refused(Capture::Dns, "no_tls");
            tracing::debug!("what came on the port for captured names is no TLS");
            return Ok(());
        }
    };
    if connection.proxy.hosts().find(&host).is_none() {
        return tunnel(&connection, stream, &host).await;
    }
    connection.opened_for = Some(OpenedFor { scheme: Scheme::HTTPS, host, port: HTTPS, capture: Capture::Dns, disagreement: None });
    intercept::tls(connection, stream).await
}

/// A host that is not read, though its name leads here.
async fn tunnel(connection: &Connection, stream: Buffered<TcpStream>, host: &str) -> io::Result<()> {
    match connection.proxy.network.tunnel(host, HTTPS).await {
        Ok(upstream) => pass(connection, stream, Some(upstream), host, Capture::Dns).await,
        Err(error) => {
            connection.proxy.metrics.refused(Capture::Dns, "no_upstream");
            tracing::warn!(host, %error, "a host that is not read cannot be reached");
            end(stream, &INTERNAL_ERROR).await
        }
    }
}

async fn end(mut stream: Buffered<TcpStream>, alert: &[u8]) -> io::Result<()> {
    stream.write_all(alert).await?;
    stream.shutdown().await
}
