//! Scripted misbehaviour, by name: what an upstream may do to a proxy.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use serde_json::json;

use super::answer::{Answer, Step, Wire, answer, error, sse_frame};
use super::ask::Ask;
use super::encoding;

/// A little more than 200 MB in frames of 64 KiB.
const FLOOD_FRAMES: usize = 3200;

/// The answer that script `name` makes of the well-behaved one. An unknown name is answered 418, so that a misspelt test fails.
pub(super) fn play(name: &str, ask: &Ask) -> Answer {
    let good = answer(ask);
    if let Some(status) = name.strip_prefix("status-").and_then(|status| status.parse().ok()) {
        let answer = match status {
            204 | 304 => Answer::Http { status, headers: HeaderMap::new(), steps: Vec::new(), pace: Duration::ZERO },
            _ => error(ask.family(), status, "scripted error"),
        };
        return if status == 429 { answer.with_header("retry-after", "1") } else { answer };
    }
    match name {
        "error-in-200" => Answer::json(200, &json!({"error": {"message": "scripted error", "type": "server_error", "code": null}})),
        "not-json" => Answer::whole(200, "application/json", "<html>not what was asked</html>"),
        "wrong-types" => Answer::json(200, &json!({"model": 7, "choices": "none", "content": 1, "usage": ["lots"]})),
        "cookies" => good.with_header("set-cookie", "tenant=one").and_header("set-cookie", "other=two"),
        "error-event" => steps(good, |mut steps| {
            steps.truncate(2);
            let message = json!({"type": "error", "error": {"type": "overloaded_error", "message": "scripted error"}});
            steps.push(Step::Frame(sse_frame("error", &message)));
            steps
        }),
        "no-end" => steps(good, |mut steps| {
            steps.truncate(3);
            steps
        }),
        "cut" => steps(good, |steps| halve(steps, Step::Cut)),
        "hang-body" => steps(good, |steps| halve(steps, Step::Hang)),
        "hang-head" => Answer::Wire(vec![Wire::Pause(Duration::from_secs(3600))]),
        "endless" => steps(good, |mut steps| {
            steps.truncate(3);
            steps.push(Step::Again(1));
            steps
        })
        .with_pace(Duration::from_millis(2)),
        "flood" => steps(good, |mut steps| {
            let content =
                format!("data: {{\"choices\": [{{\"index\": 0, \"delta\": {{\"content\": \"{}\"}}}}]}}\n\n", "x".repeat(64 << 10));
            let frame = Bytes::from(content);
            steps.splice(1..1, std::iter::repeat_with(|| Step::Frame(frame.clone())).take(FLOOD_FRAMES));
            steps
        }),
        "huge-event" => steps(good, |mut steps| {
            steps.insert(1, Step::Frame(format!(": {}\n\n", "x".repeat(8 << 20)).into()));
            steps
        }),
        "huge-data" => steps(good, |mut steps| {
            steps.insert(1, Step::Frame(format!("data: {{\"padding\": \"{}\"}}\n\n", "x".repeat(8 << 20)).into()));
            steps
        }),
        "huge-body" => Answer::whole(200, "application/json", format!("{{\"padding\": \"{}\"}}", "x".repeat(64 << 20))),
        "one-byte" => steps(good, |steps| one_byte(&bytes_of(&steps))),
        "split-utf8" => steps(good, |steps| split_utf8(&bytes_of(&steps)).into_iter().map(Step::Frame).collect()),
        "cut-mid-utf8" => steps(good, |steps| {
            let first = split_utf8(&bytes_of(&steps)).swap_remove(0);
            vec![Step::Frame(first), Step::Cut]
        }),
        "gzip" => coded(good, "gzip", encoding::gzip),
        "deflate" => coded(good, "deflate", encoding::deflate),
        "br" => coded(good, "br", encoding::brotli),
        "zstd" => coded(good, "zstd", encoding::zstd),
        "lying-encoding" => coded(good, "gzip", <[u8]>::to_vec),
        "bomb" => coded(Answer::whole(200, "application/json", vec![b' '; 256 << 20]), "gzip", encoding::gzip),
        "trailers" => steps(good, |mut steps| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("after the body"));
            steps.push(Step::Trailers(trailers));
            steps
        }),
        _ => wire(name, &good),
    }
}

/// Scripts for the bare HTTP/1.1 wire.
fn wire(name: &str, good: &Answer) -> Answer {
    let body = good.bytes();
    let text = head(good);
    let with_length =
        |length: usize| Bytes::from([text.as_bytes(), format!("content-length: {length}\r\n\r\n").as_bytes(), &body].concat());
    let chunk = Bytes::from([format!("{text}transfer-encoding: chunked\r\n\r\n3e8\r\n").as_bytes(), &body[..body.len().min(100)]].concat());
    let steps = match name {
        "cut-mid-chunk" => vec![Wire::Bytes(chunk)],
        "reset-mid-chunk" => vec![Wire::Bytes(chunk), Wire::Pause(Duration::from_millis(50)), Wire::Reset],
        "short-body" => vec![Wire::Bytes(with_length(body.len() + 100))],
        "long-body" => vec![Wire::Bytes(with_length(body.len() - 10))],
        "until-close" => vec![Wire::Bytes([text.as_bytes(), b"connection: close\r\n\r\n", &body].concat().into())],
        "reset" => vec![Wire::Reset],
        "close" => vec![],
        "bad-head" => vec![Wire::Bytes(Bytes::from_static(b"HTTP/1.1 two hundred\r\n\r\n"))],
        "bad-chunk" => vec![Wire::Bytes(format!("{text}transfer-encoding: chunked\r\n\r\nzz\r\nwhat\r\n").into())],
        "huge-head" => vec![Wire::Bytes(format!("{text}x-filler: {}\r\n\r\n", "x".repeat(1 << 20)).into())],
        "early-hints" => vec![
            Wire::Bytes(Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n")),
            Wire::Pause(Duration::from_millis(20)),
            Wire::Bytes(with_length(body.len())),
        ],
        _ => return Answer::json(418, &json!({"error": {"message": format!("no script is named {name:?}")}})),
    };
    Answer::Wire(steps)
}

/// Status line and headers of an answer, without its length and without the empty line.
fn head(answer: &Answer) -> String {
    let Answer::Http { status, headers, .. } = answer else { return String::new() };
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH && **name != TRANSFER_ENCODING) {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().expect("the tests' own header values are ASCII")));
    }
    text
}

fn steps(mut good: Answer, change: impl FnOnce(Vec<Step>) -> Vec<Step>) -> Answer {
    if let Answer::Http { steps, .. } = &mut good {
        *steps = change(std::mem::take(steps));
    }
    good
}

fn coded(good: Answer, name: &'static str, encode: impl FnOnce(&[u8]) -> Vec<u8>) -> Answer {
    let body = encode(&good.bytes());
    let mut good = steps(good, |_| vec![Step::Frame(body.into())]);
    if let Answer::Http { headers, .. } = &mut good {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    good
}

fn bytes_of(steps: &[Step]) -> Vec<u8> {
    steps.iter().flat_map(|step| if let Step::Frame(bytes) = step { bytes.to_vec() } else { Vec::new() }).collect()
}

/// Half of the frames, or half of the only one, then `end`.
fn halve(mut steps: Vec<Step>, end: Step) -> Vec<Step> {
    if let [Step::Frame(only)] = &mut steps[..] {
        only.truncate(only.len() / 2);
    } else {
        steps.truncate(steps.len() / 2);
    }
    steps.push(end);
    steps
}

fn one_byte(body: &[u8]) -> Vec<Step> {
    body.iter().map(|byte| Step::Frame(Bytes::copy_from_slice(&[*byte]))).collect()
}

/// Two pieces; the first ends inside the first character that is not ASCII.
fn split_utf8(body: &[u8]) -> Vec<Bytes> {
    let at = body.iter().position(|byte| *byte >= 0xC0).map_or(body.len() / 2, |at| at + 1);
    vec![Bytes::copy_from_slice(&body[..at]), Bytes::copy_from_slice(&body[at..])]
}
