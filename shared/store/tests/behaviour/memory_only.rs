//! What only the memory store does: makes room.

use reflow_tracing_store::{EvictionPolicy, MemoryStore, StoreReader, StoreWriter};

use crate::support::*;

async fn left_after(eviction: EvictionPolicy) -> (Vec<u128>, u64) {
    let store = MemoryStore::new(2, eviction);
    for (trace, number) in [(1, 11), (2, 12), (1, 13), (3, 14)] {
        commit(&store, &[chunk(trace, number, T0, 1)], T0).await;
    }
    let page = store.query(&filter(), &first(10), T0).await.expect("answers");
    let mut left: Vec<u128> = page.traces.iter().map(|trace| trace.trace_id.as_u128()).collect();
    left.sort_unstable();
    (left, store.evicted())
}

#[tokio::test]
async fn the_trace_written_to_the_longest_ago_makes_room() {
    assert_eq!(left_after(EvictionPolicy::Lru).await, (vec![1, 3], 1));
}

#[tokio::test]
async fn the_trace_begun_the_longest_ago_makes_room() {
    assert_eq!(left_after(EvictionPolicy::Fifo).await, (vec![2, 3], 1));
}

#[tokio::test]
async fn a_call_of_more_traces_than_fit_leaves_as_many_as_fit() {
    let store = MemoryStore::new(5, EvictionPolicy::Lru);
    let chunks: Vec<_> = (0..20_u128).map(|n| chunk(n, 100 + n, T0, 1)).collect();
    assert_eq!(commit(&store, &chunks, T0).await.stored, 20);
    assert_eq!((store.stats().await.expect("answers").traces, store.evicted()), (5, 15));
    assert_eq!(commit(&store, &chunks, T0).await.stored, 0, "what was evicted does not come back");
    assert!(!store.durable());
}
