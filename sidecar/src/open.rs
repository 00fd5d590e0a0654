//! A session whose ports are open.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    front::{self, Entrance},
    proxy::Proxy,
    session::{Live, Session, Totals},
};

/// Why a port cannot be opened.
#[derive(Debug, Error)]
#[error("listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A session whose port is open.
pub struct OpenSession {
    proxy: Arc<Proxy>,
    live: Arc<Live>,
    address: SocketAddr,
    entrances: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl OpenSession {
    /// Serves a session on a port that is bound already.
    pub(crate) fn new(proxy: Arc<Proxy>, session: Session, port: Port) -> Self {
        let live = Live::new(session, proxy.drain.child());
        let mut open = Self { proxy, live, address: port.1, entrances: Vec::new() };
        open.accept(port, Entrance::Proxy);
        open
    }

    /// Where the session listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the entrance for clients that were made to resolve LLM hosts to `address`: TLS from the first byte, for whom its server name says.
    /// Returns where it listens. Give [`crate::CaptureMode::Dns`] in the configuration, else upstream names may be looked up in the `/etc/hosts` that
    /// leads here.
    pub async fn open_dns(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        let port = listen(address).await?;
        let address = port.1;
        self.accept(port, Entrance::Dns);
        Ok(address)
    }

    /// What its calls add up to so far.
    pub fn totals(&self) -> Totals {
        self.live.totals()
    }

    /// How long no client has been connected to it.
    pub fn idle_for(&self) -> Duration {
        self.live.idle_for()
    }

    /// Closes the port, lets running calls end within `grace`, and writes their records.
    pub async fn close(self, grace: Duration) -> Totals {
        self.live.drain.close(grace).await;
        for (address, accepting) in &self.entrances {
            accepting.abort();
            self.proxy.network.ourselves().closed(*address);
        }
        self.proxy.flush().await;
        self.live.totals()
    }

    fn accept(&mut self, (listener, address): Port, entrance: Entrance) {
        // Known before the first call can come, so that none leads back here.
        self.proxy.network.ourselves().opened(address);
        let accepting = front::accept(self.proxy.clone(), self.live.clone(), listener, entrance);
        self.entrances.push((address, tokio::spawn(accepting)));
    }
}

/// A bound port and its address.
pub(crate) type Port = (TcpListener, SocketAddr);

/// Binds a port.
pub(crate) async fn listen(address: SocketAddr) -> Result<Port, ListenError> {
    let failed = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
