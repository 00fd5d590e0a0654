//! Raw tunnels: connections that are passed on untouched.

use std::io;

use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream};

use super::buffered::Buffered;

/// Large enough that a tunnel costs few system calls a gigabyte; allocated for a tunnel's life only.
const COPY_BYTES: usize = 256 << 10;

/// Copies both ways until both ends have closed. Returns bytes (client to upstream, upstream to client).
pub(crate) async fn copy(client: &mut Buffered<TcpStream>, upstream: &mut TcpStream) -> io::Result<(u64, u64)> {
    copy_bidirectional_with_sizes(client, upstream, COPY_BYTES, COPY_BYTES).await
}
