//! Stages, deadlines, crashes and exit codes, with signals from a channel.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reflow_tracing_service::{Exit, Lifecycle, Readiness, Signals, lifecycle::Cause};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

type Steps = Arc<Mutex<Vec<&'static str>>>;

fn step(steps: &Steps, what: &'static str) {
    steps.lock().unwrap().push(what);
}

#[tokio::test]
async fn stages_stop_in_the_order_of_the_data() {
    let readiness = Readiness::new();
    let lifecycle = Lifecycle::new(readiness.clone(), LONG);
    let steps = Steps::default();
    for (stage, ended, closed) in
        [("sessions", "sessions ended", "sessions closed"), ("writer", "writer ended", "writer closed")]
    {
        let stage = lifecycle.stage(stage, LONG);
        let (stop, own) = (stage.stop(), steps.clone());
        stage.spawn("task", async move {
            stop.cancelled().await;
            // Time for a stage out of turn to come in between.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            step(&own, ended);
            Ok(())
        });
        let own = steps.clone();
        stage.finally("close", async move {
            step(&own, closed);
            Ok(())
        });
    }
    let (sender, mut signals) = Signals::by_hand();
    assert!(readiness.is_ready());
    sender.send("SIGTERM").await.unwrap();
    assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Clean);
    assert_eq!(*steps.lock().unwrap(), ["sessions ended", "sessions closed", "writer ended", "writer closed"]);
    assert!(!readiness.is_ready());
}

#[tokio::test]
async fn a_stage_over_its_deadline_is_cut_off_and_the_next_still_drains() {
    let lifecycle = Lifecycle::new(Readiness::new(), LONG);
    let stuck = lifecycle.stage("stuck", SHORT);
    stuck.spawn("stuck", pending());
    let next = lifecycle.stage("next", LONG);
    let (steps, stop) = (Steps::default(), next.stop());
    let own = steps.clone();
    next.spawn("next", async move {
        stop.cancelled().await;
        step(&own, "drained");
        Ok(())
    });
    let (_sender, mut signals) = Signals::by_hand();
    lifecycle.begin(Cause::Requested);
    let began = Instant::now();
    assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Cut);
    assert!(began.elapsed() < LONG / 2 && *steps.lock().unwrap() == ["drained"]);
}

#[tokio::test]
async fn the_deadline_of_the_whole_bounds_all_stages() {
    let lifecycle = Lifecycle::new(Readiness::new(), SHORT);
    for name in ["one", "two"] {
        lifecycle.stage(name, LONG).spawn(name, pending());
    }
    let hard = lifecycle.shutdown().hard().clone();
    let (_sender, mut signals) = Signals::by_hand();
    lifecycle.begin(Cause::Requested);
    let began = Instant::now();
    assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Cut);
    assert!(hard.is_cancelled() && began.elapsed() < LONG / 2);
}

#[tokio::test]
async fn a_second_signal_is_the_hard_level() {
    let lifecycle = Lifecycle::new(Readiness::new(), LONG);
    let stage = lifecycle.stage("slow", LONG);
    let (shutdown, steps) = (lifecycle.shutdown(), Steps::default());
    let own = steps.clone();
    stage.spawn("slow", async move {
        shutdown.soft().cancelled().await;
        step(&own, "soft");
        shutdown.hard().cancelled().await;
        step(&own, "hard");
        Ok(())
    });
    let (sender, mut signals) = Signals::by_hand();
    sender.send("SIGINT").await.unwrap();
    sender.send("SIGINT").await.unwrap();
    assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Cut);
    assert_eq!(*steps.lock().unwrap(), ["soft", "hard"]);
}

#[tokio::test]
async fn a_task_that_ends_fails_or_panics_drains_the_rest_and_is_a_crash() {
    for how in ["ends", "fails", "panics"] {
        let lifecycle = Lifecycle::new(Readiness::new(), LONG);
        let stage = lifecycle.stage("stage", LONG);
        let (steps, stop) = (Steps::default(), stage.stop());
        let own = steps.clone();
        stage.spawn("neighbour", async move {
            stop.cancelled().await;
            step(&own, "drained");
            Ok(())
        });
        stage.spawn("culprit", async move {
            match how {
                "ends" => Ok(()),
                "fails" => anyhow::bail!("no more"),
                _ => panic!("on purpose"),
            }
        });
        let (_sender, mut signals) = Signals::by_hand();
        assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Crash, "{how}");
        assert_eq!(*steps.lock().unwrap(), ["drained"], "{how}");
    }
}

#[tokio::test]
async fn a_failure_while_draining_is_not_a_clean_end() {
    for finally in [false, true] {
        let lifecycle = Lifecycle::new(Readiness::new(), LONG);
        let stage = lifecycle.stage("stage", LONG);
        let stop = stage.stop();
        stage.spawn("flush", async move {
            stop.cancelled().await;
            anyhow::ensure!(finally, "could not flush");
            Ok(())
        });
        if finally {
            stage.finally("close", async { anyhow::bail!("could not close") });
        }
        let (sender, mut signals) = Signals::by_hand();
        sender.send("SIGTERM").await.unwrap();
        assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Crash);
    }
}

#[tokio::test]
async fn a_failed_start_drains_what_runs_and_says_so() {
    let lifecycle = Lifecycle::new(Readiness::new(), LONG);
    let stage = lifecycle.stage("stage", LONG);
    let stop = stage.stop();
    stage.spawn("task", async move {
        stop.cancelled().await;
        Ok(())
    });
    let (_sender, mut signals) = Signals::by_hand();
    lifecycle.begin(Cause::FailedStart);
    assert_eq!(lifecycle.run_until(&mut signals).await, Exit::Failed);
}
