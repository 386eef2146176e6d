//! The bus of one process: a bounded queue between sessions and the writer.
//!
//! Guarantee: [`Bus::publish`] resolves when the writer has committed, so nothing that was acknowledged is ever only in memory,
//! and a crash loses only what nobody was told of. The queue is bounded by chunks and bytes, counting what the writer holds;
//! a full queue makes publishers wait. The tail follows the commit.
//!
//! Left out on purpose: durability of its own (the store has it) and more than one consumer (there is one writer in a process).

mod consumer;
mod dead;
mod queue;
mod tails;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reflow_tracing_chunk::Chunk;
use tokio_util::sync::CancellationToken;

use crate::error::{BusError, BusErrorKind};
use crate::stats::{BusStats, Gauge, add};
use crate::{Bus, Consumer, DeadLetter, Lag, Tail, TailFilter, TailLimits};

use consumer::LocalConsumer;
use dead::DeadLetters;
use queue::Queue;
use tails::Tails;

/// Settings of a [`LocalBus`].
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// At most so many chunks between publishers and the commit. 10,000: ten writer batches.
    pub max_messages: usize,
    /// At most so many bytes of them. 64 MiB: a second of full load, and small beside the process.
    pub max_bytes: usize,
    /// What one live viewer may hold.
    pub tail: TailLimits,
    /// Folder for dead letters, made if missing; `None` keeps them in memory until the process ends.
    pub dead_letters: Option<PathBuf>,
    /// At most so many bytes of dead letters (64 MiB). What is over is refused, nothing is thrown away.
    pub dead_letters_max_bytes: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            max_messages: 10_000,
            max_bytes: 64 << 20,
            tail: TailLimits::default(),
            dead_letters: None,
            dead_letters_max_bytes: 64 << 20,
        }
    }
}

/// The bus of one process. Clones share one queue.
#[derive(Clone)]
pub struct LocalBus {
    shared: Arc<Shared>,
}

/// What publishers, the consumer and tails share.
struct Shared {
    queue: Queue,
    tails: Tails,
    dead: DeadLetters,
    stats: Arc<BusStats>,
    closed: CancellationToken,
}

impl LocalBus {
    /// Opens a bus. Fails with [`BusErrorKind::Setup`] when the folder for dead letters cannot be used.
    pub async fn try_new(options: LocalOptions) -> Result<Self, BusError> {
        let dead = DeadLetters::open(options.dead_letters.clone(), options.dead_letters_max_bytes).await?;
        let stats = Arc::new(BusStats::default());
        let shared = Shared {
            queue: Queue::new(options.max_messages, options.max_bytes),
            tails: Tails::new(options.tail, Arc::clone(&stats)),
            dead,
            stats,
            closed: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The newest dead letters in a folder, newest first, and how many there are. For another process than the bus's own: it
    /// changes nothing, and waits for nobody.
    ///
    /// # Errors
    ///
    /// When there is a file that cannot be read. None at all means no letters.
    pub async fn read_dead_letters(folder: PathBuf, limit: usize) -> Result<(Vec<DeadLetter>, u64), BusError> {
        dead::read(folder, limit).await
    }

    /// The counters, shareable.
    pub fn shared_stats(&self) -> Arc<BusStats> {
        Arc::clone(&self.shared.stats)
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, chunk: Chunk) -> Result<(), BusError> {
        let shared = &self.shared;
        let _publishing = Gauge::up(&shared.stats, |stats| &stats.publishing);
        let message = chunk.encode();
        let size = message.len();
        // The encoded message and the decoded chunk share the payload's bytes: the queue holds them once.
        let payload = message.slice(size - chunk.payload.len()..);
        let chunk = Arc::new(Chunk { header: chunk.header, payload });
        let queued = async {
            let outcome = shared.queue.push(message, chunk, &shared.stats).await?;
            outcome.await.unwrap_or_else(|_| Err(closed("publish")))
        };
        tokio::select! {
            // An outcome that is there counts, even if the bus was closed since.
            biased;
            outcome = queued => outcome?,
            () = shared.closed.cancelled() => return Err(closed("publish")),
        }
        add(&shared.stats.published, 1);
        add(&shared.stats.published_bytes, size as u64);
        Ok(())
    }

    async fn consumer(&self) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(LocalConsumer::try_new(Arc::clone(&self.shared))?))
    }

    async fn tail(&self, filter: TailFilter) -> Result<Tail, BusError> {
        if self.shared.closed.is_cancelled() {
            return Err(closed("tail"));
        }
        let stream = self.shared.tails.open(filter);
        Ok(Tail { position: self.shared.queue.committed(), stream })
    }

    async fn dead_letter(&self, message: Bytes, reason: &str) -> Result<(), BusError> {
        self.shared.dead.append(message, reason).await?;
        add(&self.shared.stats.dead_lettered, 1);
        Ok(())
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        self.shared.dead.newest(limit).await
    }

    async fn lag(&self) -> Result<Lag, BusError> {
        let mut lag = self.shared.queue.lag();
        lag.dead_letters = self.shared.dead.count();
        Ok(lag)
    }

    fn commits_before_ack(&self) -> bool {
        true
    }

    fn stats(&self) -> &BusStats {
        &self.shared.stats
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.shared.queue.clear();
        self.shared.tails.clear();
    }
}

fn closed(context: &'static str) -> BusError {
    BusError::new(BusErrorKind::Closed, context, "the bus is shutting down")
}
