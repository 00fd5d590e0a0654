//! The first bytes inside a tunnel: TLS for whom, or something else. Read whole before anyone decides, so that a client that sends
//! one byte first is seen like any other.

use std::io;

use rustls::server::Acceptor;
use tokio::io::AsyncRead;

use super::buffered::Buffered;

const HANDSHAKE: u8 = 0x16;
/// A ClientHello is at most one handshake message of 64 KiB.
const LARGEST: usize = (64 << 10) + 64;

/// What a client's first bytes are.
#[derive(Debug)]
pub(crate) enum Hello {
    /// A ClientHello with this server name, lower case.
    Tls(Option<String>),
    /// Not TLS.
    Other,
}

impl Hello {
    pub(crate) fn sni(&self) -> Option<&str> {
        match self {
            Self::Tls(sni) => sni.as_deref(),
            Self::Other => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Reads until it is known what the client begins with. Takes nothing from `stream`.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut Buffered<S>) -> io::Result<Hello> {
    if stream.buffer().is_empty() && stream.fill().await? == 0 {
        return Ok(Hello::Other);
    }
    if stream.buffer()[0] != HANDSHAKE {
        return Ok(Hello::Other);
    }
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        while fed < stream.buffer().len() {
            fed += acceptor.read_tls(&mut &stream.buffer()[fed..])?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let sni = accepted.client_hello().server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
                    return Ok(Hello::Tls(sni));
                }
                Ok(None) => {}
                // Whoever takes the connection says so to the client with the alert that belongs to it.
                Err(_) => return Ok(Hello::Tls(None)),
            }
        }
        if stream.buffer().len() > LARGEST || stream.fill().await? == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello does not end"));
        }
    }
}
