//! A connection whose first bytes can be looked at before anyone owns them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// One read takes a request of usual size whole; rustls alone would ask the kernel for 4 KiB at a time.
const READ_BYTES: usize = 16 << 10;

/// A stream behind a read buffer that [`Buffered::fill`] grows and readers empty.
pub(crate) struct Buffered<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> Buffered<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// What has arrived and nobody has read.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads more behind what is buffered; 0 is the stream's end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The stream, and what was read of it.
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Drops the first `count` bytes of the buffer.
    pub(crate) fn consume(&mut self, count: usize) {
        self.buffer.advance(count);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, target: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.buffer.is_empty() {
            if target.remaining() >= READ_BYTES {
                return Pin::new(&mut this.stream).poll_read(context, target);
            }
            this.buffer.reserve(READ_BYTES);
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut this.stream), context, &mut this.buffer);
            if std::task::ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let count = this.buffer.len().min(target.remaining());
        target.put_slice(&this.buffer[..count]);
        this.buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
