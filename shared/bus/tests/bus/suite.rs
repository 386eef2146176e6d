//! What every bus does, stamped out for both.

use std::sync::Arc;
use std::time::Duration;

use reflow_tracing_bus::{Bus, LocalBus, LocalOptions, NatsBus, NatsOptions, TailLimits};
use tempfile::TempDir;

use crate::support::NatsServer;

/// What a case needs a bus to be.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Bytes that fit on the bus.
    pub max_bytes: usize,
    pub dead_max_bytes: u64,
    pub tail: TailLimits,
}

impl Default for Wanted {
    fn default() -> Self {
        let tail = TailLimits { max_messages: 10_000, max_bytes: 64 << 20 };
        Self { max_bytes: 64 << 20, dead_max_bytes: 1 << 20, tail }
    }
}

/// A bus to try, and what keeps it alive.
pub struct Tried {
    pub bus: Arc<dyn Bus>,
    _keep: Keep,
}

enum Keep {
    Local(#[allow(dead_code, reason = "removed on drop")] TempDir),
    Nats(#[allow(dead_code, reason = "stopped on drop")] NatsServer),
}

pub async fn local(wanted: Wanted) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        max_bytes: wanted.max_bytes,
        tail: wanted.tail,
        dead_letters: Some(folder.path().join("dead")),
        dead_letters_max_bytes: wanted.dead_max_bytes,
        ..LocalOptions::default()
    };
    Tried { bus: Arc::new(LocalBus::try_new(options).await.unwrap()), _keep: Keep::Local(folder) }
}

pub async fn nats(wanted: Wanted) -> Tried {
    let server = NatsServer::start();
    let options = NatsOptions {
        stream_max_bytes: wanted.max_bytes as u64,
        dead_max_bytes: wanted.dead_max_bytes,
        tail: wanted.tail,
        ack_wait: Duration::from_secs(1),
        ..NatsOptions::new(server.url())
    };
    let bus = NatsBus::connect(options).await.unwrap();
    bus.declare_when_reachable().await.unwrap();
    Tried { bus: Arc::new(bus), _keep: Keep::Nats(server) }
}

macro_rules! stamp {
    ($($case:ident),* $(,)?) => {
        stamp!(@bus local_bus, crate::suite::local, $($case),*);
        stamp!(@bus nats_bus, crate::suite::nats, $($case),*);
    };
    (@bus $name:ident, $make:path, $($case:ident),*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::cases::$case(async |wanted| $make(wanted).await).await;
                }
            )*
        }
    };
}

stamp!(
    published_chunk_is_delivered_as_it_was_and_once,
    nak_is_delivered_again_after_its_delay,
    dropped_delivery_is_delivered_again,
    terminated_delivery_never_comes_again,
    pull_keeps_to_its_limits,
    empty_pull_returns_after_its_wait,
    what_a_dropped_consumer_held_goes_to_the_next,
    full_bus_pushes_back_and_resumes,
    many_publishers_are_all_committed,
    too_large_a_chunk_names_the_limit,
    tail_shows_every_chunk_once,
    tail_is_as_narrow_as_its_filter,
    tail_finds_flows_by_id_and_by_a_name_of_their_own,
    slow_viewer_is_told_exactly_what_it_missed,
    nobody_looking_costs_nothing,
    history_follows_the_position_of_a_tail,
    lag_tells_how_far_behind,
    dead_letters_are_kept_newest_first,
    full_dead_letters_refuse_and_keep_what_they_have,
    closing_lets_everybody_go,
);
