//! What is promised of a writer, with a store and a bus that misbehave on demand.

pub(crate) mod fake;
mod local;
mod slow;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use fake::*;
use reflow_tracing_chunk::Chunk;
use reflow_tracing_service::{Config, Metrics};
use reflow_tracing_store::StoreErrorKind;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{NoHooks, Writer, WriterMetrics, WriterOptions};

struct Running {
    bus: FakeBus,
    stop: CancellationToken,
    task: JoinHandle<()>,
    metrics: Metrics,
}

impl Running {
    /// A writer over a store that takes `takes` and says `say`.
    fn start(
        bus: FakeBus,
        takes: Duration,
        say: impl Fn(&[Chunk]) -> Option<StoreErrorKind> + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(FakeStore { log: bus.log.clone(), say: Box::new(say), takes });
        let (stop, metrics) = (CancellationToken::new(), Metrics::try_new("test").unwrap());
        let options = WriterOptions {
            max_chunks: 4,
            max_failures: 3,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
            progress_interval: Duration::from_secs(10),
            ..WriterOptions::of(&Config::default())
        };
        let counts = WriterMetrics::register(&metrics).unwrap();
        let writer = Writer::new(Arc::new(bus.clone()), store, Arc::new(NoHooks), options, counts);
        let stopped = stop.clone();
        let task = tokio::spawn(async move { writer.run(|| (), stopped).await.unwrap() });
        Self { bus, stop, task, metrics }
    }

    async fn end(self) -> Vec<Step> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.bus.log.steps()
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|found| found == line)
    }
}

/// Others come now and then and are stored, until a step was taken.
async fn store_others_until(bus: &FakeBus, wanted: &Step) -> Vec<Step> {
    for id in 100..200 {
        bus.send(id, message("other"));
        let steps = bus.log.until(|steps| steps.contains(&Step::Ack(id)) || steps.contains(wanted)).await;
        if steps.contains(wanted) {
            return steps;
        }
        // The clock stands still while there is something to do: nobody waits for this.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    panic!("no {wanted:?} in {:?}", bus.log.steps())
}

fn position(steps: &[Step], wanted: &Step) -> usize {
    steps.iter().position(|step| step == wanted).unwrap_or_else(|| panic!("no {wanted:?} in {steps:?}"))
}

fn count(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().filter(|step| wanted(step)).count()
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_acked_only_after_its_commit() {
    let bus = FakeBus::default();
    let running = Running::start(bus.clone(), Duration::from_millis(3), |_| None);
    for id in 0..10 {
        bus.send(id, message("a"));
    }
    let steps = bus.log.until(|steps| count(steps, |step| matches!(step, Step::Ack(_))) == 10).await;
    let mut committed = 0;
    for step in &steps {
        match step {
            Step::Commit(chunks) => committed += chunks,
            Step::Ack(_) => committed = committed.checked_sub(1).expect("acked before it was committed"),
            other => panic!("{other:?}"),
        }
    }
    assert!(steps.contains(&Step::Commit(4)), "chunks share a commit: {steps:?}");
    assert!(running.counted("reflow_writer_stored_chunks_total 10"));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_everything_is_given_back_for_ever_and_nothing_is_pulled() {
    let bus = FakeBus::default();
    let away = Arc::new(AtomicBool::new(true));
    let told = away.clone();
    let say = move |_: &[Chunk]| told.load(Ordering::SeqCst).then_some(StoreErrorKind::Unavailable);
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    for id in 0..3 {
        bus.send(id, message("a"));
    }
    // Far beyond the number of failures that would make a chunk a dead letter.
    let steps = bus.log.until(|steps| count(steps, |step| *step == Step::Failed) >= 50).await;
    assert!(steps.iter().all(|step| matches!(step, Step::Failed | Step::Nak(_))), "{steps:?}");
    assert!(running.counted("reflow_writer_store_away 1"));
    away.store(false, Ordering::SeqCst);
    let steps = bus.log.until(|steps| count(steps, |step| matches!(step, Step::Ack(_))) == 3).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    assert!(running.counted("reflow_writer_store_away 0"));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_one_chunk_that_cannot_be_stored_goes_to_the_dead_letters_and_the_others_are_stored() {
    let bus = FakeBus::default();
    let say = |chunks: &[Chunk]| holds(chunks, "bad").then_some(StoreErrorKind::Rejected);
    for (id, actor) in ["a", "bad", "b"].into_iter().enumerate() {
        bus.send(id as u64, message(actor));
    }
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    let steps = bus.log.until(|steps| steps.contains(&Step::Ack(2))).await;
    assert!(steps.contains(&Step::Ack(0)) && !steps.contains(&Step::Ack(1)));
    let (dead, gone) = (Step::DeadLetter("rejected".into()), Step::Terminate(1));
    assert!(position(&steps, &dead) < position(&steps, &gone));
    assert!(running.counted("reflow_writer_dead_letters_total{reason=\"rejected\"} 1"));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_chunk_goes_to_the_dead_letters() {
    let bus = FakeBus::default();
    bus.send(0, bytes::Bytes::from_static(b"nonsense"));
    bus.send(1, message("a"));
    let running = Running::start(bus.clone(), Duration::ZERO, |_| None);
    let steps = bus.log.until(|steps| steps.contains(&Step::Ack(1))).await;
    assert!(position(&steps, &Step::DeadLetter("undecodable".into())) < position(&steps, &Step::Terminate(0)));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_written_stays_in_the_bus() {
    let mut bus = FakeBus::default();
    bus.dead_letters_fail = true;
    bus.send(0, bytes::Bytes::from_static(b"nonsense"));
    let running = Running::start(bus.clone(), Duration::ZERO, |_| None);
    let steps = bus.log.until(|steps| count(steps, |step| *step == Step::Nak(0)) == 3).await;
    assert!(!steps.contains(&Step::Terminate(0)));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_fails_while_others_are_stored_is_a_dead_letter_in_the_end() {
    let bus = FakeBus::default();
    let say = |chunks: &[Chunk]| holds(chunks, "odd").then_some(StoreErrorKind::Corrupt);
    bus.send(0, message("odd"));
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    // Alone it fails for ever: it may well be the store.
    let steps = bus.log.until(|steps| count(steps, |step| *step == Step::Nak(0)) >= 6).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    let steps = store_others_until(&bus, &Step::Terminate(0)).await;
    assert!(position(&steps, &Step::Ack(101)) < position(&steps, &Step::DeadLetter("failing".into())));
    running.end().await;
}

/// A fault of a table that only events need: starts and ends of traces are stored all the while.
#[tokio::test(start_paused = true)]
async fn events_that_all_fail_cost_no_chunk_whatever_else_is_stored() {
    let bus = FakeBus::default();
    let damaged = Arc::new(AtomicBool::new(true));
    let told = damaged.clone();
    let say = move |chunks: &[Chunk]| {
        let events = chunks.iter().any(|chunk| chunk.header.event_count > 0);
        (events && told.load(Ordering::SeqCst)).then_some(StoreErrorKind::Corrupt)
    };
    for id in 0..3 {
        bus.send(id, message("a"));
    }
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    for id in 100..120 {
        bus.send(id, mark());
        let comes_again = |steps: &[Step]| count(steps, |step| *step == Step::Nak(0)) > id as usize - 100;
        bus.log.until(|steps| steps.contains(&Step::Ack(id)) && comes_again(steps)).await;
    }
    damaged.store(false, Ordering::SeqCst);
    let steps = bus.log.until(|steps| (0..3).all(|id| steps.contains(&Step::Ack(id)))).await;
    assert_eq!(count(&steps, |step| matches!(step, Step::DeadLetter(_))), 0);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_in_the_middle_of_a_search_costs_no_chunk() {
    let bus = FakeBus::default();
    let asked = Arc::new(AtomicU32::new(0));
    let say = move |chunks: &[Chunk]| match asked.fetch_add(1, Ordering::SeqCst) {
        // The group is refused, its first chunk is stored, then the store is away once.
        0 => Some(StoreErrorKind::Rejected),
        2 => Some(StoreErrorKind::Unavailable),
        _ => holds(chunks, "bad").then_some(StoreErrorKind::Rejected),
    };
    for (id, actor) in ["a", "bad", "b"].into_iter().enumerate() {
        bus.send(id as u64, message(actor));
    }
    let running = Running::start(bus.clone(), Duration::ZERO, say);
    let steps = bus.log.until(|steps| steps.contains(&Step::Ack(2)) && steps.contains(&Step::Terminate(1))).await;
    assert!(steps.contains(&Step::Ack(0)) && steps.contains(&Step::Nak(1)) && steps.contains(&Step::Nak(2)));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_commit_reports_progress_of_all_that_is_in_hand() {
    let bus = FakeBus::default();
    for id in 0..8 {
        bus.send(id, message("a"));
    }
    let running = Running::start(bus.clone(), Duration::from_secs(25), |_| None);
    let steps = bus.log.until(|steps| steps.contains(&Step::Ack(7))).await;
    let before = &steps[..position(&steps, &Step::Commit(4))];
    for id in 0..8 {
        assert_eq!(count(before, |step| *step == Step::Progress(id)), 2, "{steps:?}");
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_end_is_an_outage() {
    let bus = FakeBus::default();
    bus.send(0, message("a"));
    let running = Running::start(bus.clone(), Duration::from_secs(100_000), |_| None);
    bus.log.until(|steps| steps.contains(&Step::Nak(0))).await;
    assert!(running.counted("reflow_writer_commits_total{result=\"timeout\"} 1"));
    running.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_drain_settles_what_is_in_hand_and_takes_no_more() {
    let bus = FakeBus::default();
    for id in 0..20 {
        bus.send(id, message("a"));
    }
    let running = Running::start(bus.clone(), Duration::from_secs(1), |_| None);
    bus.log.until(|steps| steps.contains(&Step::Ack(3))).await;
    let steps = running.end().await;
    let acked = count(&steps, |step| matches!(step, Step::Ack(_)));
    assert_eq!(acked + bus.waiting(), 20, "every chunk is acked or still in the bus: {steps:?}");
    assert!(acked <= 12, "at most two batches were in hand: {steps:?}");
}
