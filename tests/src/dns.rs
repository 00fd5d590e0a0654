//! A name server that knows a few hosts, so that a test's programs find them without `/etc/hosts`.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
/// A response to a query, recursion available.
const FOUND: u16 = 0x8180;
const NO_SUCH_NAME: u16 = FOUND | 3;

/// A running name server. Dropping it closes its port.
pub struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl NameServer {
    /// Answers on UDP for `hosts`; every other name does not exist.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(address: SocketAddr, hosts: BTreeMap<String, IpAddr>) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = asked.clone();
        let serving = tokio::spawn(async move {
            let mut datagram = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut datagram).await {
                let Some((name, answer)) = answer(&datagram[..length], &hosts) else { continue };
                heard.lock().expect("no holder panics").push(name);
                if socket.send_to(&answer, peer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { asked, serving })
    }

    /// The names that were asked for, in order, each for every question.
    ///
    /// # Panics
    /// Never: the lock's holders do not panic.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The name that a query asks for, and the answer (RFC 1035, section 4). `None` for what is no query.
fn answer(query: &[u8], hosts: &BTreeMap<String, IpAddr>) -> Option<(String, Vec<u8>)> {
    let id = query.get(..2)?;
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    let data = match hosts.get(&name) {
        Some(IpAddr::V4(address)) if kind == A => Some(address.octets().to_vec()),
        Some(IpAddr::V6(address)) if kind == AAAA => Some(address.octets().to_vec()),
        _ => None,
    };
    let flags = if hosts.contains_key(&name) { FOUND } else { NO_SUCH_NAME };
    let mut answer = id.to_vec();
    for number in [flags, 1, u16::from(data.is_some()), 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(query.get(12..at + 4)?);
    if let Some(data) = data {
        // The name is the question's, at byte 12; class IN; an hour.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 14, 16]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some((name, answer))
}
