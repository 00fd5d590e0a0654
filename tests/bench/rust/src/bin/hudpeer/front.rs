//! An entrance of one's own before hudsucker: it reads CONNECT and the whole first TLS record (the ClientHello), so that it could decide on
//! both, and only then dials hudsucker, which can be fed by nothing but a listener. What is decided here costs nothing, so what this peer
//! costs more than the one without `--front` is the loopback hop.
use agentrun_bench::connect::{grant, read_head};
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
};

/// Large, so that the hop has as few system calls as it can.
const COPY_BUFFER: usize = 64 * 1024;

pub async fn serve(listener: TcpListener, hudsucker: SocketAddr) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            // A connection that breaks is the load generator's to count.
            let _ = pass(client, hudsucker).await;
        });
    }
}

async fn pass(mut client: TcpStream, hudsucker: SocketAddr) -> io::Result<()> {
    let (head, mut hello) = grant(&mut client).await?;
    read_record(&mut client, &mut hello).await?;
    let mut inner = TcpStream::connect(hudsucker).await?;
    inner.set_nodelay(true)?;
    inner.write_all(&head).await?;
    let mut answer = Vec::with_capacity(256);
    let end = read_head(&mut inner, &mut answer).await?;
    client.write_all(&answer[end..]).await?;
    inner.write_all(&hello).await?;
    copy_bidirectional_with_sizes(&mut client, &mut inner, COPY_BUFFER, COPY_BUFFER).await?;
    Ok(())
}

/// Reads until the first TLS record is whole; a tunnel that is not TLS goes on with what came.
async fn read_record(from: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    loop {
        if let [kind, _, _, high, low, ..] = buffer[..]
            && (kind != 0x16 || buffer.len() >= 5 + usize::from(u16::from_be_bytes([high, low])))
        {
            return Ok(());
        }
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
