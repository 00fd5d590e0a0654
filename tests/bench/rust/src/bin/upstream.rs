//! A fake LLM API over TLS (HTTP/1.1), one thread.
//!
//! - `POST .../chat/completions`: a JSON reply, or SSE when the body says `"stream":true`
//! - `GET /bytes`: endless bytes, until the client leaves
//! - `GET /__stats`: counters, so that the benchmark can prove that hits never came here
//!
//! Flags: `--listen IP:PORT --cert PEM --key PEM --chunks N --chunk-ms MS --reply-bytes B`
use agentrun_bench::{Flags, certificates, monotonic_ns, private_key};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    cell::Cell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

type Reply = Response<BoxBody<Bytes, Infallible>>;

#[derive(Default)]
struct Counters {
    connections: Cell<u64>,
    chats: Cell<u64>,
    streams: Cell<u64>,
}

struct Api {
    chunks: u32,
    chunk_ms: u64,
    reply: String,
    counters: Counters,
}

struct Endless(Bytes);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }

    /// A length nobody reaches, so that the bytes are not chunked.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(1 << 50)
    }
}

struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn whole(status: u16, bytes: impl Into<Bytes>) -> Reply {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-request-id", "req_bench")
        .header("openai-version", "2020-10-01")
        .body(Full::new(bytes.into()).boxed())
        .expect("fixed header names and values")
}

fn passing(content_type: &str, body: impl Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static) -> Reply {
    Response::builder()
        .header("content-type", content_type)
        .header("x-request-id", "req_bench")
        .body(BodyExt::boxed(body))
        .expect("fixed header names and values")
}

/// Whether a chat request asks for a stream. The field stands near either end of a body; the long text between is not searched.
fn wants_stream(body: &[u8]) -> bool {
    let field = b"\"stream\":true";
    let ends = [&body[..body.len().min(400)], &body[body.len().saturating_sub(400)..]];
    ends.iter().any(|end| end.windows(field.len()).any(|window| window == field))
}

impl Api {
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Reply, Infallible> {
        let counters = &self.counters;
        Ok(match request.uri().path() {
            "/__stats" => {
                let (connections, chats, streams) = (counters.connections.get(), counters.chats.get(), counters.streams.get());
                whole(200, format!("{{\"connections\":{connections},\"chats\":{chats},\"streams\":{streams}}}"))
            }
            "/bytes" => passing("application/octet-stream", Endless(Bytes::from(vec![b'x'; 256 * 1024]))),
            _ => {
                let Ok(body) = request.into_body().collect().await else {
                    return Ok(whole(400, Bytes::new()));
                };
                if wants_stream(&body.to_bytes()) {
                    counters.streams.set(counters.streams.get() + 1);
                    let (sender, receiver) = mpsc::channel(4);
                    spawn_local(self.clone().send_events(sender));
                    passing("text/event-stream; charset=utf-8", Events(receiver))
                } else {
                    counters.chats.set(counters.chats.get() + 1);
                    whole(200, self.reply.replacen("@ID@", &format!("{:012}", counters.chats.get()), 1))
                }
            }
        })
    }

    /// Each event bears the time it was sent in `system_fingerprint`, for the lag measured at the other end.
    async fn send_events(self: Rc<Self>, sender: mpsc::Sender<Bytes>) {
        let event = |rest: &str| {
            format!(
                "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                 \"model\":\"gpt-4o-mini\",{rest}}}\n\n"
            )
        };
        let mut ticks = tokio::time::interval(Duration::from_millis(self.chunk_ms));
        for index in 0..self.chunks {
            ticks.tick().await;
            let role = if index == 0 { "\"role\":\"assistant\"," } else { "" };
            let text = event(&format!(
                "\"system_fingerprint\":\"fp_{}\",\"choices\":[{{\"index\":0,\"delta\":{{{role}\"content\":\"word{index} \"}},\
                 \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null",
                monotonic_ns()
            ));
            if sender.send(text.into()).await.is_err() {
                return;
            }
        }
        let stop = event("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null");
        let usage = event(&format!(
            "\"choices\":[],\"usage\":{{\"prompt_tokens\":812,\"completion_tokens\":{},\"total_tokens\":{}}}",
            self.chunks,
            812 + self.chunks
        ));
        // A client that left early is what some scenarios are about.
        let _ = sender.send(format!("{stop}{usage}data: [DONE]\n\n").into()).await;
    }
}

/// A chat completion of about `bytes` bytes with `@ID@` in the place of its number.
fn reply(bytes: usize) -> String {
    let head = "{\"id\":\"chatcmpl-@ID@\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o-mini-2024-07-18\",\
                \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    let foot = "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":812,\
                \"completion_tokens\":140,\"total_tokens\":952,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\
                \"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}},\"service_tier\":\"default\",\
                \"system_fingerprint\":\"fp_bench\"}";
    let sentence = "The quick brown fox jumps over the lazy dog. ";
    let missing = bytes.saturating_sub(head.len() + foot.len());
    format!("{head}{}{foot}", sentence.repeat(missing.div_ceil(sentence.len())))
}

fn main() {
    let flags = Flags::parse();
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(&flags.need("cert")), private_key(&flags.need("key")))
        .expect("the key belongs to the certificate");
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let api = Rc::new(Api {
        chunks: flags.number("chunks", 50.0) as u32,
        chunk_ms: flags.number("chunk-ms", 20.0) as u64,
        reply: reply(flags.number("reply-bytes", 1200.0) as usize),
        counters: Counters::default(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starting the runtime");
    LocalSet::new().block_on(&runtime, serve(flags.need("listen"), TlsAcceptor::from(Arc::new(tls)), api));
}

async fn serve(address: String, acceptor: TlsAcceptor, api: Rc<Api>) {
    let listener = TcpListener::bind(&address).await.unwrap_or_else(|error| panic!("listening on {address}: {error}"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        api.counters.connections.set(api.counters.connections.get() + 1);
        let (acceptor, api) = (acceptor.clone(), api.clone());
        spawn_local(async move {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| api.clone().answer(request));
            // How a connection ends is the load generator's to judge.
            let _ =
                hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
