//! The CONNECT entrance of the peers that own theirs.
use std::io;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEAD_LIMIT: usize = 16 * 1024;

/// Reads until the blank line; where the head ends in `buffer`.
pub async fn read_head(from: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(at + 4);
        }
        if buffer.len() > HEAD_LIMIT || from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Reads a CONNECT request and grants it: its head, and what came after the head.
pub async fn grant(client: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    client.set_nodelay(true)?;
    let mut head = Vec::with_capacity(4096);
    let end = read_head(client, &mut head).await?;
    let rest = head.split_off(end);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    Ok((head, rest))
}
