//! Raw tunnels: connections that are passed on untouched.

use std::io;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::buffered::Buffered;

/// Copies both ways until both ends have closed. Returns bytes (client to upstream, upstream to client).
pub(crate) async fn copy(client: Buffered<TcpStream>, mut upstream: TcpStream) -> io::Result<(u64, u64)> {
    let (client, first) = client.into_parts();
    upstream.write_all(&first).await?;
    let (sent, received) = both_ways(client, upstream).await?;
    Ok((first.len() as u64 + sent, received))
}

#[cfg(not(target_os = "linux"))]
async fn both_ways(mut client: TcpStream, mut upstream: TcpStream) -> io::Result<(u64, u64)> {
    const COPY_BYTES: usize = 256 << 10;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, COPY_BYTES, COPY_BYTES).await
}

#[cfg(target_os = "linux")]
use splice::both_ways;

/// Bytes of a tunnel never enter this process: the kernel moves them from socket to socket through a pipe.
#[cfg(target_os = "linux")]
mod splice {
    use std::{
        io,
        net::Shutdown,
        os::fd::{AsFd, OwnedFd},
    };

    use nix::{
        fcntl::{self, FcntlArg, OFlag, SpliceFFlags},
        unistd::pipe2,
    };
    use socket2::SockRef;
    use tokio::{io::Interest, net::TcpStream};

    /// What one call may move, and the pipe's size; the system's own, 64 KiB, where it allows no more.
    const PIPE_BYTES: i32 = 256 << 10;

    pub(super) async fn both_ways(client: TcpStream, upstream: TcpStream) -> io::Result<(u64, u64)> {
        tokio::try_join!(one_way(&client, &upstream), one_way(&upstream, &client))
    }

    async fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<u64> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        fcntl::fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).ok();
        let mut total = 0;
        loop {
            let arrived = from.async_io(Interest::READABLE, || splice(from, &writer)).await?;
            if arrived == 0 {
                // The other direction may go on.
                SockRef::from(to).shutdown(Shutdown::Write).ok();
                return Ok(total);
            }
            let mut left = arrived;
            while left > 0 {
                left -= to.async_io(Interest::WRITABLE, || drain(&reader, to, left)).await?;
            }
            total += arrived as u64;
        }
    }

    fn splice(from: &TcpStream, pipe: &OwnedFd) -> io::Result<usize> {
        Ok(fcntl::splice(from.as_fd(), None, pipe, None, PIPE_BYTES as usize, FLAGS)?)
    }

    fn drain(pipe: &OwnedFd, to: &TcpStream, count: usize) -> io::Result<usize> {
        Ok(fcntl::splice(pipe, None, to.as_fd(), None, count, FLAGS)?)
    }

    const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);
}
