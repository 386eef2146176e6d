//! One byte budget for all sessions of a process, taken before a large frame is read.
//!
//! A frame's length stands in its header. [`BudgetedIo`] sits between the socket and the WebSocket library, sees the header go
//! by, and reads no further before the budget has room for the whole frame: then the socket's buffer fills and TCP pushes back.
//! A frame that fits into the read buffer is read first and accounted for by the session.
//!
//! No deadlock: a message's bytes are taken at once, never piece by piece (a message in fragments takes the largest size a
//! message may have until it is whole), and what a session holds is given back when its chunk is durable or its question
//! answered, which waits for no other session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

/// Bytes the sessions of a process may hold.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    semaphore: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from the budget; given back on drop.
#[derive(Debug)]
pub(crate) struct Taken(OwnedSemaphorePermit);

impl Taken {
    /// Gives back what is more than `bytes`.
    pub(crate) fn trimmed(mut self, bytes: usize) -> Self {
        drop(self.0.split(self.0.num_permits().saturating_sub(bytes)));
        self
    }
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.clamp(1, u32::MAX as usize);
        Self { semaphore: Arc::new(Semaphore::new(total)), total }
    }

    /// Takes bytes if there is room now. More than the whole budget counts as the whole.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Taken> {
        self.semaphore.clone().try_acquire_many_owned(self.clamp(bytes)).ok().map(Taken)
    }

    /// Waits for room.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Taken> {
        self.semaphore.clone().acquire_many_owned(self.clamp(bytes)).await.ok().map(Taken)
    }

    /// Bytes taken now.
    pub(crate) fn in_use(&self) -> usize {
        self.total - self.semaphore.available_permits().min(self.total)
    }

    fn clamp(&self, bytes: usize) -> u32 {
        bytes.min(self.total) as u32
    }
}

/// A socket whose large frames wait for the budget.
#[derive(Debug)]
pub(crate) struct BudgetedIo<S> {
    inner: S,
    frames: FrameWatch,
    total: usize,
    semaphore: PollSemaphore,
    /// What is held for the frame under way, and since when.
    held: Option<(OwnedSemaphorePermit, Instant)>,
    wanted: u32,
}

impl<S> BudgetedIo<S> {
    /// `already_read` came with the handshake. `max_message` is what a message may have at most; frames up to `free` bytes are not
    /// waited for.
    pub(crate) fn new(inner: S, budget: &Budget, already_read: &[u8], max_message: usize, free: usize) -> Self {
        let mut io = Self {
            inner,
            frames: FrameWatch::new(max_message, free),
            total: budget.total,
            semaphore: PollSemaphore::new(budget.semaphore.clone()),
            held: None,
            wanted: 0,
        };
        io.watch(already_read);
        io
    }

    /// Takes over what was held for the message that has just been read.
    pub(crate) fn take_held(&mut self) -> Option<Taken> {
        self.held.take().map(|(permit, _)| Taken(permit))
    }

    /// Since when a large frame is under way: its sender must not take for ever.
    pub(crate) fn held_since(&self) -> Option<Instant> {
        self.held.as_ref().map(|(_, since)| *since)
    }

    /// Whether reading waits for the budget.
    pub(crate) fn waits(&self) -> bool {
        self.wanted > 0
    }

    fn watch(&mut self, bytes: &[u8]) {
        let large = self.frames.feed(bytes);
        if large > 0 {
            self.wanted = large.min(self.total) as u32;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BudgetedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.wanted > 0 {
            let Some(permit) = ready!(this.semaphore.poll_acquire_many(cx, this.wanted)) else {
                return Poll::Ready(Err(io::Error::other("byte budget is closed")));
            };
            this.wanted = 0;
            match &mut this.held {
                Some((held, _)) => held.merge(permit),
                None => this.held = Some((permit, Instant::now())),
            }
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        let large = this.frames.feed(new);
        if large > 0 {
            this.wanted = large.min(this.total) as u32;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BudgetedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Follows frame boundaries (RFC 6455, section 5.2) without touching a byte.
#[derive(Debug)]
struct FrameWatch {
    header: [u8; 14],
    have: usize,
    payload_left: u64,
    in_fragments: bool,
    max_message: usize,
    free: usize,
}

impl FrameWatch {
    fn new(max_message: usize, free: usize) -> Self {
        Self { header: [0; 14], have: 0, payload_left: 0, in_fragments: false, max_message, free }
    }

    /// Follows the bytes; returns how much budget a large frame that goes on beyond them needs, or 0.
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut need = 0;
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skip = self.payload_left.min(bytes.len() as u64) as usize;
                self.payload_left -= skip as u64;
                bytes = &bytes[skip..];
                if self.payload_left == 0 {
                    // That one is in the buffer as a whole; only one that is still under way needs room.
                    need = if self.in_fragments { need } else { 0 };
                }
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.complete() {
                self.have = 0;
                self.payload_left = length;
                need = need.max(self.needs(length));
            }
        }
        need
    }

    fn complete(&self) -> Option<u64> {
        if self.have < 2 {
            return None;
        }
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        let (extra, length) = match self.header[1] & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([self.header[2], self.header[3]]))),
            127 => {
                let [_, _, a, b, c, d, e, f, g, h, ..] = self.header;
                (8, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            short => (0, u64::from(short)),
        };
        (self.have == 2 + extra + mask).then_some(length)
    }

    fn needs(&mut self, length: u64) -> usize {
        let last = self.header[0] & 0x80 != 0;
        let opcode = self.header[0] & 0x0f;
        match opcode {
            // A control frame, in between.
            8.. => 0,
            // A continuation: the first fragment has taken the whole.
            0 => {
                self.in_fragments = !last;
                0
            }
            _ if !last => {
                self.in_fragments = true;
                self.max_message
            }
            // Too large: the library will refuse it before it reads on.
            _ if length > self.max_message as u64 => 0,
            _ if length > self.free as u64 => length as usize,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            126..65536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(std::iter::repeat_n(0x85, length));
        bytes
    }

    #[test]
    fn large_frames_ask_for_their_size_however_they_are_cut() {
        let stream = [frame(0x81, 5), frame(0x89, 3), frame(0x82, 70_000), frame(0x81, 200)].concat();
        for piece in [1, 7, 4096] {
            let mut watch = FrameWatch::new(1 << 20, 8192);
            let asked: Vec<usize> =
                stream.chunks(piece).map(|bytes| watch.feed(bytes)).filter(|need| *need > 0).collect();
            assert_eq!(asked, [70_000], "in pieces of {piece}");
            assert_eq!((watch.have, watch.payload_left), (0, 0));
        }
    }

    #[test]
    fn a_message_in_fragments_asks_once_for_the_largest() {
        let stream = [frame(0x01, 10), frame(0x89, 1), frame(0x00, 10), frame(0x80, 10), frame(0x81, 10)].concat();
        let mut watch = FrameWatch::new(1 << 20, 8192);
        let asked: Vec<usize> = stream.chunks(1).map(|bytes| watch.feed(bytes)).filter(|need| *need > 0).collect();
        assert_eq!(asked, [1 << 20]);
        assert!(!watch.in_fragments);
    }

    #[tokio::test]
    async fn reading_waits_for_the_budget() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let budget = Budget::new(100_000);
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut io = BudgetedIo::new(server, &budget, &[], 1 << 20, 8192);
        client.write_all(&frame(0x82, 80_000)).await.unwrap();
        let others = budget.take(50_000).await.unwrap();
        let mut buf = vec![0; 4096];
        let first = io.read(&mut buf).await.unwrap();
        assert!(first > 0 && io.waits());
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), io.read(&mut buf)).await;
        assert!(waiting.is_err(), "read on without room");
        drop(others);
        assert!(io.read(&mut buf).await.unwrap() > 0);
        assert!(io.held_since().is_some());
        assert_eq!(budget.in_use(), 80_000);
        drop(io.take_held());
        assert_eq!(budget.in_use(), 0);
    }
}
