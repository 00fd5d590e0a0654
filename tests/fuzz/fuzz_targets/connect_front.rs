//! However a connection's first bytes are cut, the CONNECT front says the same of them, takes only the head, and reads no further once it holds more than its limit. The first
//! five bytes choose the limit, what is mended, the size of TLS records and the cuts.
#![no_main]

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    buffered::Buffered,
    head::{HeadError, Parsed},
    hello::Hello,
};

// The sources themselves: they are no part of the crate's interface, and without the rest of it the target builds in seconds.
#[allow(dead_code, reason = "the rest of the crate uses more of it")]
#[path = "../../../sidecar/src/front/buffered.rs"]
mod buffered;
#[path = "../../../sidecar/src/front/head.rs"]
mod head;
#[path = "../../../sidecar/src/front/hello.rs"]
mod hello;

/// A ClientHello is one handshake message of at most 64 KiB.
const LARGEST_HELLO: usize = (64 << 10) + 64;
const LARGEST_STREAM: usize = 80 << 10;
/// Above this, a read a byte is too slow to be tried on each input.
const BYTEWISE: usize = 2 << 10;
/// The extension `signature_algorithms`, without which rustls takes no ClientHello.
const SIGNATURES: &[u8] = &[0, 0x0d, 0, 4, 0, 2, 4, 3];
const HEAD: &[u8] = b"CONNECT a:1 HTTP/1.1\r\n\r\n";
/// One large read may bring more than the limit leaves room for.
const READ_AHEAD: usize = 16 << 10;

/// What has been read so far, and what had been before the last read.
#[derive(Default)]
struct Taken {
    now: Cell<usize>,
    before: Cell<usize>,
}

/// A connection that never makes its reader wait.
struct Source<'a> {
    stream: &'a [u8],
    cuts: &'a [u8],
    turn: usize,
    taken: &'a Taken,
}

impl AsyncRead for Source<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let cut = match self.cuts[self.turn % self.cuts.len()] {
            u8::MAX => usize::MAX,
            cut => usize::from(cut) + 1,
        };
        self.turn += 1;
        let start = self.taken.now.get();
        let count = cut.min(target.remaining()).min(self.stream.len() - start);
        target.put_slice(&self.stream[start..start + count]);
        if count > 0 {
            self.taken.before.set(start);
            self.taken.now.set(start + count);
        }
        Poll::Ready(Ok(()))
    }
}

/// What the front makes of a connection.
#[derive(Debug, PartialEq)]
enum Front {
    Other,
    Refused(String),
    Connect { authority: String, length: usize },
}

impl Front {
    fn refused(error: &HeadError) -> Self {
        assert!(error.status().is_client_error());
        Self::Refused(error.to_string())
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("waits for a source that has everything"),
    }
}

/// Reads a head from `stream`; what is left in the buffer and unread must be all that follows it.
fn connect(stream: &[u8], limit: usize, cuts: &[u8]) -> Front {
    let taken = Taken::default();
    let mut buffered = Buffered::new(Source { stream, cuts, turn: 0, taken: &taken });
    let front = match now(head::connect(&mut buffered, limit)) {
        Ok(None) => Front::Other,
        Ok(Some(authority)) => Front::Connect { authority: authority.to_string(), length: taken.now.get() - buffered.buffer().len() },
        Err(error) => Front::refused(&error),
    };
    assert!(taken.before.get() <= limit && taken.now.get() <= 2 * (limit + READ_AHEAD));
    let length = if let Front::Connect { length, .. } = front { length } else { 0 };
    assert_eq!(buffered.buffer(), &stream[length..taken.now.get()]);
    front
}

/// What a head is read as that comes byte by byte: the first byte above the limit says that it is too large.
fn expected(stream: &[u8], limit: usize) -> Front {
    match head::parse(&stream[..stream.len().min(limit + 1)], limit) {
        Ok(Parsed::Connect { authority, length }) => Front::Connect { authority: authority.to_string(), length },
        Ok(Parsed::Partial | Parsed::Other) => Front::Other,
        Err(error) => Front::refused(&error),
    }
}

/// Whether there is a ClientHello, and the name in it. Nothing of it may be taken from the buffer.
fn hello(stream: &[u8], cuts: &[u8]) -> Result<(bool, Option<String>), io::ErrorKind> {
    let taken = Taken::default();
    let mut buffered = Buffered::new(Source { stream, cuts, turn: 0, taken: &taken });
    let read = now(hello::read(&mut buffered));
    assert!(taken.before.get() <= LARGEST_HELLO && taken.now.get() <= 2 * (LARGEST_HELLO + READ_AHEAD));
    assert_eq!(buffered.buffer(), &stream[..taken.now.get()]);
    let read: Hello = read.map_err(|error| error.kind())?;
    assert!(read.sni().is_none_or(|name| !name.is_empty() && !name.ends_with('.') && name == name.to_ascii_lowercase()));
    Ok((read.is_tls(), read.sni().map(str::to_owned)))
}

/// `body` as a ClientHello handshake message.
fn handshake(body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32).to_be_bytes().to_vec();
    message[0] = 1;
    message.extend(body);
    message
}

/// `message` in TLS records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[0x16, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
    message.chunks(size).flat_map(record).collect()
}

/// A ClientHello's body with these extensions, and all before them as it should be.
fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let extensions = &extensions[..extensions.len().min(usize::from(u16::MAX) - SIGNATURES.len())];
    let length = (SIGNATURES.len() + extensions.len()) as u16;
    let before = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &length.to_be_bytes(), SIGNATURES];
    [&before.concat(), extensions].concat()
}

fuzz_target!(|input: &[u8]| {
    let [limit, mend, record, first, second, bytes @ ..] = input else { return };
    // A limit within the method's name leaves open what is refused: whoever sends something else, or a long CONNECT.
    let limit = (usize::from(*limit) + 1) * 16;
    // Repeated, few bytes reach the limits.
    let mut bytes = bytes.repeat(1 << (mend >> 4 & 7));
    bytes.truncate(LARGEST_STREAM);
    let record = usize::from(*record) * 8 + 1;
    let (head, tail) = match mend % 4 {
        0 => (bytes.clone(), bytes),
        1 => ([b"CONNECT ", &bytes[..]].concat(), bytes),
        2 => (HEAD.to_vec(), records(&handshake(&bytes), record)),
        _ => (HEAD.to_vec(), records(&handshake(&client_hello(&bytes)), record)),
    };
    let stream = if mend & 4 == 0 { head } else { [head, tail.clone()].concat() };
    let cuts = [*first, *second];
    let expected = expected(&stream, limit);
    if stream.len() <= BYTEWISE {
        assert_eq!(connect(&stream, limit, &[0]), expected);
    }
    for cuts in [&cuts[..], &[u8::MAX]] {
        assert_eq!(connect(&stream, limit, cuts), expected);
    }
    let expected = hello(&tail, &[u8::MAX]);
    if tail.len() <= BYTEWISE {
        assert_eq!(hello(&tail, &[0]), expected);
    }
    assert_eq!(hello(&tail, &cuts), expected);
});
