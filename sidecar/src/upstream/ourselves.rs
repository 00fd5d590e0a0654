//! Where this proxy listens, so that it never calls itself.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use thiserror::Error;
use tokio::net::TcpStream;

/// The proxy's own open ports.
#[derive(Debug, Default)]
pub(crate) struct Ourselves(Mutex<Vec<SocketAddr>>);

/// An upstream connection ended at the proxy itself.
#[derive(Debug, Error)]
#[error("it leads back to this proxy ({0}): its name resolves to where the proxy listens; see /etc/resolv.conf, --upstream and --provider")]
pub(crate) struct LeadsBack(pub(crate) SocketAddr);

impl Ourselves {
    /// A port has been opened.
    pub(crate) fn opened(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// A port has been closed.
    pub(crate) fn closed(&self, address: SocketAddr) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = open.iter().position(|known| *known == address) {
            open.swap_remove(index);
        }
    }

    /// The far end of a connection that we opened, if it is a port of ours.
    pub(crate) fn at_the_end_of(&self, stream: &TcpStream) -> Option<SocketAddr> {
        let (near, far) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|listener| is_behind(*listener, near, far)).then_some(far)
    }
}

/// Whether what listens at `listener` answers a connection from `near` to `far`. One that listens on every address answers where both ends
/// have the same: nobody but this machine has it.
fn is_behind(listener: SocketAddr, near: SocketAddr, far: SocketAddr) -> bool {
    let everywhere = listener.ip().is_unspecified();
    let own = far.ip().to_canonical().is_loopback() || far.ip() == near.ip();
    listener.port() == far.port() && (listener.ip() == far.ip().to_canonical() || (everywhere && own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_a_listener_of_ours_is_known() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let table = [
            ("127.0.0.1:443", "127.0.0.1:40000", "127.0.0.1:443", true),
            ("127.0.0.1:443", "[::1]:40000", "[::ffff:127.0.0.1]:443", true),
            ("127.0.0.1:443", "127.0.0.1:40000", "127.0.0.1:444", false),
            ("127.0.0.1:443", "127.0.0.1:40000", "127.0.0.2:443", false),
            ("127.0.0.1:443", "10.0.0.7:40000", "10.0.0.7:443", false),
            ("0.0.0.0:443", "10.0.0.7:40000", "10.0.0.7:443", true),
            ("0.0.0.0:443", "10.0.0.7:40000", "10.0.0.8:443", false),
            ("[::]:443", "127.0.0.1:40000", "127.0.0.1:443", true),
        ];
        for (listener, near, far, expected) in table {
            assert_eq!(is_behind(address(listener), address(near), address(far)), expected, "{listener} {near} {far}");
        }
    }

    #[test]
    fn a_closed_port_is_ours_no_more() {
        let ourselves = Ourselves::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 443));
        ourselves.opened(address);
        ourselves.opened(address);
        ourselves.closed(address);
        assert_eq!(ourselves.0.lock().unwrap().len(), 1);
        ourselves.closed(address);
        ourselves.closed(address);
        assert!(ourselves.0.lock().unwrap().is_empty());
    }
}
