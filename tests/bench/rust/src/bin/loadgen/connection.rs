use agentrun_bench::{Flags, roots};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, client::Resumption, pki_types::ServerName},
};

const READ_BUFFER: usize = 64 * 1024;

/// Whom the requests are for and how to get there.
pub struct Target {
    pub host: String,
    port: u16,
    proxy: Option<SocketAddr>,
    dial: Option<SocketAddr>,
    tls: TlsConnector,
    pub body_bytes: usize,
}

impl Target {
    pub fn from_flags(flags: &Flags) -> Self {
        let host = flags.text("host", "api.openai.com:443");
        let (name, port) = host.rsplit_once(':').expect("--host NAME:PORT");
        let mut tls = ClientConfig::builder().with_root_certificates(roots(&flags.need("ca"))).with_no_client_auth();
        // Every connection pays for a whole handshake, as those of separate agents do.
        tls.resumption = Resumption::disabled();
        let address = |flag: &str| flags.get(flag).map(|text| text.parse().expect("IP:PORT"));
        Target {
            host: name.into(),
            port: port.parse().expect("--host NAME:PORT"),
            proxy: address("proxy"),
            dial: address("dial"),
            tls: TlsConnector::from(Arc::new(tls)),
            body_bytes: flags.number("body-bytes", 4096.0) as usize,
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self.proxy.or(self.dial) {
            Some(address) => Ok(address),
            None => (self.host.as_str(), self.port).to_socket_addrs()?.next().ok_or_else(|| bad("the host has no address")),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection with its own read buffer, of which `start..end` is unread.
pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

enum Framing {
    Length(u64),
    Chunked,
    ToTheEnd,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Connection {
    fn over(stream: Box<dyn Stream>) -> Self {
        Connection { stream, buffer: vec![0; READ_BUFFER], start: 0, end: 0 }
    }

    /// TCP, CONNECT where there is a proxy, TLS.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let tcp = TcpStream::connect(target.address()?).await?;
        tcp.set_nodelay(true)?;
        let mut connection = Connection::over(Box::new(tcp));
        if target.proxy.is_some() {
            let to = format!("{}:{}", target.host, target.port);
            connection.stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
            let (status, _) = connection.read_head().await?;
            if status != 200 {
                return Err(bad(format!("CONNECT answered {status}")));
            }
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| bad(error.to_string()))?;
        Ok(Connection::over(Box::new(target.tls.connect(name, connection.stream).await?)))
    }

    pub async fn close(mut self) {
        // The other side may have closed first.
        let _ = self.stream.shutdown().await;
    }

    /// Sends a request and hands out the answer's body as it arrives, with its status; `sink` returns false to stop early.
    pub async fn exchange(&mut self, request: &[u8], mut sink: impl FnMut(&[u8]) -> bool) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let (status, framing) = self.read_head().await?;
        match framing {
            Framing::Length(bytes) => drop(self.read_exactly(bytes, &mut sink).await?),
            Framing::Chunked => self.read_chunks(&mut sink).await?,
            Framing::ToTheEnd => {
                while self.start < self.end || self.fill().await? > 0 {
                    let go_on = sink(&self.buffer[self.start..self.end]);
                    self.start = self.end;
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Ok(status)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start == 0 {
                return Err(bad("a head or chunk line is too long"));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }

    async fn fill_some(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    async fn read_head(&mut self) -> io::Result<(u16, Framing)> {
        loop {
            if let Some((bytes, status, framing)) = parse_head(&self.buffer[self.start..self.end])? {
                self.start += bytes;
                return Ok((status, framing));
            }
            self.fill_some().await?;
        }
    }

    async fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = self.buffer[self.start..self.end].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer[self.start..self.start + length].trim_ascii_end().to_vec();
                self.start += length + 1;
                return Ok(line);
            }
            self.fill_some().await?;
        }
    }

    /// Whether the sink wants more.
    async fn read_exactly(&mut self, mut bytes: u64, sink: &mut impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        while bytes > 0 {
            if self.start == self.end {
                self.fill_some().await?;
            }
            let piece = ((self.end - self.start) as u64).min(bytes) as usize;
            let go_on = sink(&self.buffer[self.start..self.start + piece]);
            self.start += piece;
            bytes -= piece as u64;
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read_chunks(&mut self, sink: &mut impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        loop {
            let line = self.read_line().await?;
            let size = std::str::from_utf8(&line).ok().and_then(|text| u64::from_str_radix(text.split(';').next()?.trim(), 16).ok());
            match size.ok_or_else(|| bad("a chunk has no size"))? {
                0 => {
                    while !self.read_line().await?.is_empty() {}
                    return Ok(());
                }
                size => {
                    if !self.read_exactly(size, sink).await? {
                        return Ok(());
                    }
                    self.read_line().await?;
                }
            }
        }
    }
}

/// Length of the head, status and framing of the body, once the head is whole.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(usize, u16, Framing)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(|error| bad(error.to_string()))? else {
        return Ok(None);
    };
    let mut framing = Framing::ToTheEnd;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).ok();
            framing = Framing::Length(text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| bad("content-length is no number"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
            break;
        }
    }
    Ok(Some((length, response.code.unwrap_or(0), framing)))
}
