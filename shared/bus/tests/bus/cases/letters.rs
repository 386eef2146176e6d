//! Dead letters, and how far the writers are behind.

use bytes::Bytes;
use reflow_tracing_bus::BusErrorKind;

use super::{Make, publish};
use crate::suite::Wanted;
use crate::support::chunks::{chunk_of, limits};
use crate::support::{eventually, soon};

pub async fn lag_tells_how_far_behind(make: impl Make) {
    let tried = make(Wanted::default()).await;
    let empty = tried.bus.lag().await.unwrap();
    assert!(empty.limit_bytes > Some(0), "{empty:?}");
    assert_eq!((empty.messages, empty.bytes, empty.oldest, empty.ack_floor), (0, 0, None, 0));
    let publishing: Vec<_> = (0..3).map(|_| publish(&tried.bus, chunk_of(None, 5000))).collect();
    let behind = async || Some(tried.bus.lag().await.unwrap()).filter(|lag| lag.messages == 3);
    let lag = eventually("three wait", behind).await;
    assert!(lag.bytes >= 15_000 && lag.oldest.is_some() && lag.ack_floor == 0, "{lag:?}");

    let mut consumer = tried.bus.consumer().await.unwrap();
    let mut answered = 0;
    while answered < 3 {
        for delivery in consumer.pull(&limits()).await.unwrap() {
            // What is being worked on still counts.
            assert_eq!(tried.bus.lag().await.unwrap().messages, 3 - answered);
            delivery.acker.ack().await.unwrap();
            answered += 1;
            let settled = async || (tried.bus.lag().await.unwrap().messages == 3 - answered).then_some(());
            eventually("one less waits", settled).await;
        }
    }
    for publishing in publishing {
        soon("publish", publishing).await.unwrap().unwrap();
    }
    let lag = tried.bus.lag().await.unwrap();
    assert_eq!((lag.messages, lag.bytes, lag.oldest, lag.ack_floor), (0, 0, None, 3));
}

pub async fn dead_letters_are_kept_newest_first(make: impl Make) {
    let tried = make(Wanted::default()).await;
    assert!(tried.bus.dead_letters(10).await.unwrap().is_empty());
    for n in 0..5 {
        let reason = format!("reason {n}, line one\nline two: größe");
        tried.bus.dead_letter(Bytes::from(vec![n; 10]), &reason).await.unwrap();
    }
    let letters = tried.bus.dead_letters(2).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].message, Bytes::from(vec![4; 10]));
    assert!(letters[0].reason.starts_with("reason 4") && letters[0].reason.contains("größe"), "{}", letters[0].reason);
    assert_eq!(letters[1].message, Bytes::from(vec![3; 10]));
    assert!(letters[0].at_us >= letters[1].at_us && letters[1].at_us > 1_600_000_000_000_000);
    assert_eq!(tried.bus.dead_letters(100).await.unwrap().len(), 5);
    assert_eq!(tried.bus.lag().await.unwrap().dead_letters, 5);
}

pub async fn full_dead_letters_refuse_and_keep_what_they_have(make: impl Make) {
    let tried = make(Wanted { dead_max_bytes: 10_000, ..Wanted::default() }).await;
    for n in 0..3 {
        tried.bus.dead_letter(Bytes::from(vec![n; 3000]), "no good").await.unwrap();
    }
    let error = tried.bus.dead_letter(Bytes::from(vec![9; 3000]), "no good").await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Full);
    assert!(error.is_retryable() && error.reason.contains("10000"), "{error}");
    let letters = tried.bus.dead_letters(10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.message[0]).collect::<Vec<_>>(), [2, 1, 0]);
}
