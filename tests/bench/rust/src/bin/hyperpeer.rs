//! The naive peer without hudsucker: the same cache and certificates, but hyper and tokio-rustls serve the connection that CONNECT made.
//! It reads the ClientHello before it answers in TLS, and tunnels what is not an LLM host, so it does what `hudpeer --front` does.
//!
//! Flags: `--listen IP:PORT --ca-cert PEM --ca-key PEM --upstream-ca PEM --hosts a,b`
use agentrun_bench::{
    Flags,
    cache::{Cache, keepable},
    connect::grant,
    peer,
};
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hudsucker::{
    certificate_authority::{CertificateAuthority, RcgenAuthority},
    hyper_util::{
        client::legacy::{Client, connect::HttpConnector},
        rt::{TokioExecutor, TokioIo},
    },
};
use hyper::{Request, Response, Uri, body::Incoming, http::uri::Authority, service::service_fn};
use hyper_rustls::HttpsConnector;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional_with_sizes, join},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{LazyConfigAcceptor, rustls::server::Acceptor};

const COPY_BUFFER: usize = 64 * 1024;

type Reply = Response<Either<Full<Bytes>, Incoming>>;

struct Peer {
    hosts: Arc<Vec<String>>,
    cache: Cache,
    authority: RcgenAuthority,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Peer {
    async fn connection(self: Arc<Self>, mut client: TcpStream) -> anyhow::Result<()> {
        let (head, early) = grant(&mut client).await?;
        let to = target(&head)?;
        if !self.hosts.iter().any(|known| known == to.host()) {
            let mut server = TcpStream::connect(to.as_str()).await?;
            server.set_nodelay(true)?;
            server.write_all(&early).await?;
            copy_bidirectional_with_sizes(&mut client, &mut server, COPY_BUFFER, COPY_BUFFER).await?;
            return Ok(());
        }
        let (read, write) = client.into_split();
        let replayed = join(tokio::io::AsyncReadExt::chain(io::Cursor::new(early), read), write);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), replayed).await?;
        let configuration = self.authority.gen_server_config(&to).await;
        let stream = hello.into_stream(configuration).await?;
        let service = service_fn(move |request| {
            let (peer, to) = (self.clone(), to.clone());
            async move { peer.answer(request, to).await }
        });
        Ok(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
    }

    async fn answer(&self, request: Request<Incoming>, to: Authority) -> anyhow::Result<Reply> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let key = Cache::key(parts.uri.path(), &body);
        if let Some((headers, bytes)) = self.cache.get(&key) {
            let mut response = Response::new(Either::Left(Full::new(bytes)));
            *response.headers_mut() = headers;
            return Ok(response);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::builder().scheme("https").authority(to).path_and_query(path).build()?;
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await?;
        if !keepable(&response) {
            return Ok(response.map(Either::Right));
        }
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        self.cache.put(key, &parts.headers, &bytes);
        Ok(Response::from_parts(parts, Either::Left(Full::new(bytes))))
    }
}

/// Whom a CONNECT request is for.
fn target(head: &[u8]) -> anyhow::Result<Authority> {
    let line = std::str::from_utf8(head)?.lines().next().unwrap_or_default();
    Ok(line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context("not a CONNECT request")?.parse()?)
}

#[tokio::main]
async fn main() {
    let flags = Flags::parse();
    let peer = Arc::new(Peer {
        hosts: peer::hosts(&flags),
        cache: Cache::new(true),
        authority: peer::authority(&flags),
        client: Client::builder(TokioExecutor::new()).build(peer::connector(&flags, true)),
    });
    let listener = TcpListener::bind(flags.need("listen")).await.expect("listening");
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let peer = peer.clone();
        tokio::spawn(async move {
            // A connection that breaks is the load generator's to count.
            let _ = peer.connection(client).await;
        });
    }
}
