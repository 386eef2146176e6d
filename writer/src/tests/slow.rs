//! A chunk that keeps the store from answering, and a store that answers nobody.

use super::*;

/// Three chunks, `slow` among them, and what the store says to the slow one.
async fn beside_a_slow_one(told: impl Fn() -> Option<StoreErrorKind> + Send + Sync + 'static) -> (FakeBus, Running) {
    let bus = FakeBus::default();
    for (id, actor) in ["a", "slow", "b"].into_iter().enumerate() {
        bus.send(id as u64, message(actor));
    }
    let say = move |chunks: &[Chunk]| if holds(chunks, "slow") { told() } else { None };
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    (bus, running)
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_gets_no_answer_does_not_keep_others_and_is_a_dead_letter_in_the_end() {
    let (bus, running) = beside_a_slow_one(|| Some(StoreErrorKind::Unavailable)).await;
    let steps = bus.log.until(|steps| steps.contains(&Step::Ack(0)) && steps.contains(&Step::Ack(2))).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    // From now on it fails alone, whatever comes beside it.
    let before = count(&steps, |step| *step == Step::Failed);
    let steps = store_others_until(&bus, &Step::Terminate(1)).await;
    assert!(position(&steps, &Step::Ack(100)) < position(&steps, &Step::DeadLetter("failing".into())));
    let singles = count(&steps, |step| *step == Step::Failed) - before;
    assert!(singles <= 3, "{singles} commits failed: {steps:?}");
    assert!(running.counted("reflow_writer_dead_letters_total{reason=\"failing\"} 1"));
    assert!(running.counted("reflow_writer_store_away 0"));
    running.end().await;
}

/// A full disk, a schema of another build: an operator mends it, whatever chunk it was that met it.
#[tokio::test(start_paused = true)]
async fn what_an_operator_mends_is_no_fault_of_a_chunk() {
    for kind in [StoreErrorKind::Full, StoreErrorKind::Schema, StoreErrorKind::Locked] {
        let (bus, running) = beside_a_slow_one(move || Some(kind)).await;
        let steps = bus.log.until(|steps| count(steps, |step| *step == Step::Nak(1)) >= 20).await;
        assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
        running.end().await;
    }
}

/// Whatever fails while nothing else is stored may be the store's fault, though it takes a single row.
#[tokio::test(start_paused = true)]
async fn a_store_that_takes_rows_but_no_chunk_costs_none() {
    let bus = FakeBus::default();
    for id in 0..3 {
        bus.send(id, message("a"));
    }
    let held = Arc::new(AtomicBool::new(true));
    let told = held.clone();
    let say = move |chunks: &[Chunk]| {
        (told.load(Ordering::SeqCst) && !chunks.is_empty()).then_some(StoreErrorKind::Unavailable)
    };
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    let steps = bus.log.until(|steps| count(steps, |step| *step == Step::Nak(1)) >= 20).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    held.store(false, Ordering::SeqCst);
    let steps = bus.log.until(|steps| count(steps, |step| matches!(step, Step::Ack(_))) == 3).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    running.end().await;
}
