//! What a commit promises.

use reflow_tracing_store::CommitOutcome;

use crate::support::*;

pub async fn chunks_are_read_back_as_they_came(db: &impl Fixture) {
    let store = db.open().await;
    let a = chunk(1, 11, T0, 3).flow("orders_1763900000", "orders").started(T0 - 10);
    let b = chunk(1, 12, T0 + SECOND, 2);
    let marks = chunk(1, 13, T0 + 2 * SECOND, 0).closed(T0 + 2 * SECOND);
    let outcome = commit(&*store, &[b.clone(), marks, a.clone()], T0).await;
    assert_eq!((outcome.stored, outcome.duplicates, outcome.events), (3, 0, 5));
    assert!(outcome.rows >= 3);

    let read = all_chunks(&*store, 1, usize::MAX).await;
    assert_eq!(read.len(), 2, "a chunk without events is not read");
    assert_eq!((&read[0].header, &read[0].payload), (&a.header, &a.payload));
    assert_eq!((&read[1].header, &read[1].payload), (&b.header, &b.payload));

    let trace = summary(&*store, 1, T0 + 3 * SECOND).await;
    assert_eq!((trace.event_count, trace.stored_events), (5, 5));
    assert_eq!((trace.start_us, trace.end_us), (T0 - 5, Some(T0 + SECOND - 1)));
    assert_eq!(trace.flow_name.as_deref(), Some("orders"));
    assert!(trace.exact);
    assert!(find(&*store, 2, T0).await.is_none());
    assert_eq!(rows(&*store, "chunks").await, 3);
    assert_eq!(store.stats().await.expect("answers").newest_received_us, Some(T0 + SECOND));
}

pub async fn redelivered_chunk_changes_nothing(db: &impl Fixture) {
    let store = db.open().await;
    let chunks = [chunk(1, 11, T0, 3).client("c", 0, 0, 0), chunk(2, 12, T0, 4)];
    commit(&*store, &chunks, T0).await;
    let before = summary(&*store, 1, T0).await;
    for day in 1..3 {
        let again = commit(&*store, &chunks, T0 + day * DAY).await;
        assert_eq!(again, CommitOutcome { duplicates: 2, ..CommitOutcome::default() });
    }
    assert_eq!(summary(&*store, 1, T0).await, before);
    let mixed = commit(&*store, &[chunks[0].clone(), chunk(1, 13, T0, 1)], T0).await;
    assert_eq!((mixed.stored, mixed.duplicates, mixed.events), (1, 1, 1));
    assert_eq!(summary(&*store, 1, T0).await.event_count, 4);
}

pub async fn duplicates_inside_a_call_count_once(db: &impl Fixture) {
    let store = db.open().await;
    let one = chunk(1, 11, T0, 3);
    let outcome = commit(&*store, &[one.clone(), one.clone(), one.clone()], T0).await;
    assert_eq!((outcome.stored, outcome.duplicates, outcome.events), (1, 2, 3));
    assert_eq!(summary(&*store, 1, T0).await.event_count, 3);
    assert_eq!(all_chunks(&*store, 1, usize::MAX).await.len(), 1);
}

pub async fn an_empty_call_does_nothing(db: &impl Fixture) {
    let store = db.open().await;
    assert_eq!(commit(&*store, &[], T0).await, CommitOutcome::default());
    assert_eq!(store.stats().await.expect("answers").traces, 0);
}

pub async fn extreme_times_fit(db: &impl Fixture) {
    let store = db.open().await;
    // The last microsecond of the year 9999, and one before our era.
    let (late_us, early_us) = (253_402_300_799_999_999, -62_135_596_800_000_000);
    let wild = chunk(1, 11, T0, 2).with(|header| {
        header.first_event_us = Some(early_us);
        header.last_event_us = Some(late_us);
    });
    let wilder = chunk(2, 12, T0, 2).with(|header| {
        header.first_event_us = Some(i64::MIN);
        header.last_event_us = Some(i64::MAX);
    });
    commit(&*store, &[wild, wilder], T0).await;
    let trace = summary(&*store, 1, T0).await;
    assert_eq!((trace.start_us, trace.end_us), (early_us, Some(late_us)));
    let trace = summary(&*store, 2, T0).await;
    assert_eq!((trace.start_us, trace.end_us), (i64::MIN, Some(i64::MAX)));
    let page = store.query(&filter(), &first(10), T0).await.expect("answers");
    let found: Vec<_> = page.traces.iter().map(|trace| trace.trace_id).collect();
    assert_eq!(found, [id(1), id(2)]);
    assert_eq!(all_chunks(&*store, 2, 1).await.len(), 1);
}

pub async fn hostile_names_are_kept_apart(db: &impl Fixture) {
    let store = db.open().await;
    let long = "ß".repeat(2000);
    let names = ["nul\0in\0it", "'; DROP TABLE traces; --", "😀 surrogates", "", "\u{7f}\n\t\"\\", long.as_str()];
    let chunks: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let number = index as u128 + 1;
            chunk(number, number, T0, 1)
                .flow(name, name)
                .failed(T0, name)
                .ended(T0, reflow_tracing_chunk::EndStatus::Failed, name)
                .client(name, 0, 0, 0)
                .versioned(1, Some(name))
                .actors(vec![actor(name, 1)])
                .with(|header| {
                    header.metadata_json = Some(format!("{{\"note\": {name:?}}}"));
                    header.edges = vec![edge(name, name, 1)];
                })
        })
        .collect();
    assert_eq!(commit(&*store, &chunks, T0).await.stored, names.len());
    for (index, name) in names.iter().enumerate() {
        let trace = summary(&*store, index as u128 + 1, T0).await;
        assert_eq!(trace.first_error.expect("failed").message, *name);
        assert_eq!(trace.ended.expect("ended").error, *name);
        assert!(trace.metadata_json.expect("told").contains("note"));
        let mut filter = filter();
        filter.flow = Some((*name).to_owned());
        filter.actor = Some((*name).to_owned());
        let page = store.query(&filter, &first(10), T0).await.expect("answers");
        assert_eq!(page.total, 1, "{name:?}");
        assert_eq!(store.flow_versions(TENANT, name).await.expect("answers").len(), 1, "{name:?}");
    }
}

pub async fn a_thousand_chunks_in_one_call(db: &impl Fixture) {
    let store = db.open().await;
    let chunks: Vec<_> = (0..1000_u128).map(|n| chunk(n % 300, 1000 + n, T0 + n as i64, 2)).collect();
    let outcome = commit(&*store, &chunks, T0).await;
    assert_eq!((outcome.stored, outcome.events), (1000, 2000));
    let stats = store.stats().await.expect("answers");
    assert_eq!((stats.traces, stats.events), (300, 2000));
}

pub async fn concurrent_commits_of_the_same_chunks_store_them_once(db: &impl Fixture) {
    let store = db.open().await;
    let mut calls = Vec::new();
    for call in 0..8_usize {
        let store = store.clone();
        // Each call has the same chunks, rotated: locks taken in the order given would go round in a circle.
        let mut chunks: Vec<_> =
            (0..60_u128).map(|n| chunk(n % 7, 100 + n, T0, 1).flow("hot", "hot").versioned(1, None)).collect();
        chunks.rotate_left(call * 7);
        calls.push(tokio::spawn(async move { commit(&*store, &chunks, T0).await }));
    }
    let mut stored = 0;
    for call in calls {
        stored += call.await.expect("no panic").stored;
    }
    assert_eq!(stored, 60);
    let stats = store.stats().await.expect("answers");
    assert_eq!((stats.traces, stats.events), (7, 60));
    assert_eq!(rows(&*store, "chunks").await, 60);
    assert!(store.durable() || store.stats().await.expect("answers").bytes > 0);
}

pub async fn tenants_do_not_see_each_other(db: &impl Fixture) {
    let store = db.open().await;
    let theirs = chunk(1, 12, T0, 5).flow("f", "f").versioned(2, None).sent_as(&[77]).with(|header| {
        header.tenant = "other-team".to_owned();
    });
    commit(&*store, &[chunk(1, 11, T0, 3).flow("f", "f").versioned(1, None), theirs], T0).await;
    assert_eq!(summary(&*store, 1, T0).await.event_count, 3);
    let trace = store.find_trace("other-team", id(1), T0).await.expect("answers").expect("exists");
    assert_eq!(trace.event_count, 5);
    assert_eq!(all_chunks(&*store, 1, usize::MAX).await.len(), 1);
    assert_eq!(store.query(&filter(), &first(10), T0).await.expect("answers").total, 1);
    assert!(find(&*store, 77, T0).await.is_none());
    let versions = store.flow_versions(TENANT, "f").await.expect("answers");
    assert_eq!(versions.iter().map(|row| row.version.major).collect::<Vec<_>>(), [1]);
    let actors = store.trace_actors(TENANT, id(1)).await.expect("answers");
    assert_eq!(actors.iter().map(|row| row.events).sum::<u64>(), 3);
    assert!(store.heads("nobody", &[id(1)], T0).await.expect("answers").is_empty());
}

pub async fn a_probe_changes_nothing(db: &impl Fixture) {
    let store = db.open().await;
    commit(&*store, &[chunk(1, 11, T0, 10)], T0).await;
    let before = store.stats().await.expect("answers");
    for at in [T0, T0 + HOUR] {
        store.probe(at).await.expect("takes a row");
    }
    let after = store.stats().await.expect("answers");
    assert_eq!((after.traces, after.events), (before.traces, before.events));
    let kept = store.retain(&keep(None, Some(100)), T0 + 2 * HOUR).await.expect("retains");
    assert_eq!((kept.chunks, kept.traces), (0, 0), "an hour without a chunk is no reason to remove one");
    assert_eq!(summary(&*store, 1, T0).await.stored_events, 10);
}
