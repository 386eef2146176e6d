//! History over the bus, answered well and badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reflow_tracing_bus::{
    AnswerStream, AskOptions, BusError, BusErrorKind, HistoryClient, HistoryHandler, LocalHistory, MAX_PIECE_BYTES,
    NatsBus, NatsHistory, NatsOptions, Patience, ServeOptions, serve_history,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{NatsServer, Proxy, eventually, soon};

const MINUTE: Patience = Patience::Whole(Duration::from_secs(60));

const SHORT: Duration = Duration::from_secs(2);
/// What an answer that goes on slowly takes for each piece.
const SLOW: Duration = Duration::from_millis(400);

/// Answers `<pieces> <bytes> <how it goes on>`.
#[derive(Default)]
struct Handler {
    made: Arc<AtomicU64>,
    running: Arc<AtomicU64>,
    most_running: AtomicU64,
}

struct Running(Arc<AtomicU64>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl HistoryHandler for Handler {
    async fn answer(&self, question: Bytes) -> Result<AnswerStream, BusError> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let running = Running(Arc::clone(&self.running));
        self.most_running.fetch_max(now, Ordering::SeqCst);
        let question = String::from_utf8(question.to_vec()).unwrap();
        let mut words = question.split(' ');
        let pieces: u64 = words.next().unwrap().parse().unwrap();
        let size: usize = words.next().unwrap().parse().unwrap();
        let end = words.next().unwrap_or_default().to_owned();
        if end == "refuse" {
            return Err(BusError::new(BusErrorKind::Refused, "test", "no such trace"));
        }
        if end == "panic" {
            panic!("on purpose");
        }
        let made = Arc::clone(&self.made);
        let answer = stream::iter(0..pieces).map(move |n| {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(vec![n as u8; size]))
        });
        let answer = match end.as_str() {
            "fail" => answer
                .chain(stream::once(async { Err(BusError::new(BusErrorKind::Unavailable, "test", "lost")) }))
                .boxed(),
            "slow" => answer
                .then(|piece| async move {
                    tokio::time::sleep(SLOW).await;
                    piece
                })
                .boxed(),
            "hang" => answer.chain(stream::pending()).boxed(),
            _ => answer.boxed(),
        };
        let answer = answer.inspect(move |_| {
            let _until_dropped = &running;
        });
        Ok(answer.boxed())
    }
}

struct Service {
    handler: Arc<Handler>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn bus(url: String) -> NatsBus {
    let bus = NatsBus::connect(NatsOptions::new(url)).await.unwrap();
    eventually("connected", async || bus.is_connected().then_some(())).await;
    bus
}

async fn serve(url: String, options: ServeOptions) -> Service {
    let bus = bus(url).await;
    let (handler, stop) = (Arc::new(Handler::default()), CancellationToken::new());
    let task = {
        let (handler, stop) = (Arc::clone(&handler), stop.clone());
        tokio::spawn(async move { serve_history(&bus, handler, options, stop).await })
    };
    Service { handler, stop, task }
}

/// An asker, once a service is there.
async fn asker(server: &NatsServer) -> NatsHistory {
    let history = NatsHistory::new(&bus(server.url()).await, AskOptions::default());
    eventually("a service is there", async || history.ask("0 0".into(), MINUTE).await.ok().map(|_| ())).await;
    history
}

async fn read(answer: Result<AnswerStream, BusError>) -> Result<Vec<Bytes>, BusError> {
    let mut answer = answer?;
    let mut pieces = Vec::new();
    while let Some(piece) = answer.next().await {
        pieces.push(piece?);
    }
    Ok(pieces)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_megabytes_arrive_whole_and_in_order() {
    let server = NatsServer::start();
    let _service = serve(server.url(), ServeOptions::default()).await;
    let history = asker(&server).await;
    // Pieces larger than the bus's, so that they are cut.
    let answer = history.ask("60 1000000".into(), MINUTE).await;
    let pieces = soon("answer", read(answer)).await.unwrap();
    assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
    let whole = pieces.concat();
    assert_eq!(whole.len(), 60_000_000);
    assert!(whole.chunks(1_000_000).enumerate().all(|(n, piece)| piece.iter().all(|byte| *byte == n as u8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_a_window_and_no_more() {
    let server = NatsServer::start();
    let service = serve(server.url(), ServeOptions::default()).await;
    let history = asker(&server).await;
    let made = Arc::clone(&service.handler.made);
    let mut answer = history.ask(format!("100 {MAX_PIECE_BYTES}").into(), MINUTE).await.unwrap();
    for read in 1..=100 {
        let piece = soon("piece", answer.next()).await.unwrap().unwrap();
        assert_eq!(piece[0], (read - 1) as u8);
        let made = made.load(Ordering::SeqCst);
        assert!(made <= read + 8 + 1, "{made} pieces were made when {read} were read");
    }
    assert!(soon("end", answer.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_answered_within_the_bound() {
    let server = NatsServer::start();
    let options = ServeOptions { max_running: 4, max_waiting: 100, ..ServeOptions::default() };
    let services = [serve(server.url(), options).await, serve(server.url(), options).await];
    let history = asker(&server).await;
    let asking =
        (0..60).map(|_| async { read(history.ask("20 50000".into(), MINUTE).await).await.unwrap().concat().len() });
    let answers = soon("answers", join_all(asking)).await;
    assert!(answers.iter().all(|answer| *answer == 1_000_000));
    for service in &services {
        let most = service.handler.most_running.load(Ordering::SeqCst);
        assert!((1..=4).contains(&most), "{most} ran at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_service_is_known_at_once() {
    let server = NatsServer::start();
    let history = NatsHistory::new(&bus(server.url()).await, AskOptions::default());
    let start = Instant::now();
    let error = history.ask("1 1".into(), MINUTE).await.err().unwrap();
    assert_eq!((error.kind, error.reason.as_str()), (BusErrorKind::Unavailable, "no query service is running"));
    assert!(start.elapsed() < Duration::from_secs(1));
    let large = history.ask(Bytes::from(vec![b' '; 2 << 20]), MINUTE).await.err().unwrap();
    assert_eq!(large.kind, BusErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_in_the_middle_is_a_retryable_error() {
    let server = NatsServer::start();
    let proxy = Proxy::start(&server.url()).await;
    let _service = serve(proxy.url(), ServeOptions::default()).await;
    let history = asker(&server).await;
    let mut answer = history.ask("100 200000".into(), MINUTE).await.unwrap();
    soon("piece", answer.next()).await.unwrap().unwrap();
    proxy.cut();
    let outcome = soon("the end", read(Ok(answer))).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.reason.as_str()), (BusErrorKind::Unavailable, "the query service went away"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_is_unavailable_after_the_silence() {
    let server = NatsServer::start();
    let proxy = Proxy::start(&server.url()).await;
    let _service = serve(proxy.url(), ServeOptions::default()).await;
    asker(&server).await;
    let options = AskOptions { silence: Duration::from_secs(2), ..AskOptions::default() };
    let history = NatsHistory::new(&bus(server.url()).await, options);
    let mut answer = history.ask("3 1000 hang".into(), MINUTE).await.unwrap();
    for _ in 0..3 {
        soon("piece", answer.next()).await.unwrap().unwrap();
    }
    proxy.stall();
    let start = Instant::now();
    let error = soon("the end", answer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Unavailable);
    assert!(error.is_retryable() && start.elapsed() < Duration::from_secs(6), "{error}");
    assert!(answer.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_takes_nobody_with_it() {
    let server = NatsServer::start();
    let _service = serve(server.url(), ServeOptions::default()).await;
    let history = asker(&server).await;
    let error = soon("error", history.ask("1 1 panic".into(), MINUTE)).await;
    let error = match error {
        Ok(answer) => soon("error", read(Ok(answer))).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, BusErrorKind::Unavailable);
    assert_eq!(soon("answer", read(history.ask("2 5".into(), MINUTE).await)).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_nobody_wants_any_more_is_given_up() {
    let server = NatsServer::start();
    let service = serve(server.url(), ServeOptions::default()).await;
    let history = asker(&server).await;
    let running = &service.handler.running;
    eventually("nothing runs", async || (running.load(Ordering::SeqCst) == 0).then_some(())).await;
    let mut answer = history.ask("3 1000 hang".into(), MINUTE).await.unwrap();
    soon("piece", answer.next()).await.unwrap().unwrap();
    assert_eq!(running.load(Ordering::SeqCst), 1);
    drop(answer);
    eventually("it is given up", async || (running.load(Ordering::SeqCst) == 0).then_some(())).await;

    // The asker's process is gone without a word.
    let proxy = Proxy::start(&server.url()).await;
    let lost = NatsHistory::new(&bus(proxy.url()).await, AskOptions::default());
    let mut answer = lost.ask("3 1000 hang".into(), MINUTE).await.unwrap();
    soon("piece", answer.next()).await.unwrap().unwrap();
    proxy.cut();
    eventually("it is given up", async || (running.load(Ordering::SeqCst) == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_service_says_so_and_a_stopping_one_finishes() {
    let server = NatsServer::start();
    let options = ServeOptions { max_running: 1, max_waiting: 1, ..ServeOptions::default() };
    let service = serve(server.url(), options).await;
    let history = asker(&server).await;
    let running = &service.handler.running;
    eventually("nothing runs", async || (running.load(Ordering::SeqCst) == 0).then_some(())).await;
    let mut first = eventually("it runs", async || history.ask("40 200000".into(), MINUTE).await.ok()).await;
    soon("piece", first.next()).await.unwrap().unwrap();
    let second = soon("waiting", history.ask("2 10".into(), MINUTE)).await.unwrap();
    let error = soon("busy", history.ask("2 10".into(), MINUTE)).await.err().unwrap();
    assert_eq!(error.kind, BusErrorKind::Unavailable);
    assert!(error.reason.contains("busy"), "{error}");

    service.stop.cancel();
    let gone = async || {
        history.ask("2 10".into(), MINUTE).await.err().filter(|error| error.reason.contains("no query service"))
    };
    eventually("no more are taken", gone).await;
    assert_eq!(soon("first", read(Ok(first))).await.unwrap().len(), 39);
    assert_eq!(soon("second", read(Ok(second))).await.unwrap().len(), 2);
    soon("the service ends", service.task).await.unwrap();
}

/// What both clients have in common.
async fn errors_and_deadlines(history: &dyn HistoryClient) {
    let error = match history.ask("1 1 refuse".into(), MINUTE).await {
        Ok(answer) => soon("error", read(Ok(answer))).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.kind, error.reason.as_str()), (BusErrorKind::Refused, "no such trace"));

    let mut answer = history.ask("2 10 fail".into(), MINUTE).await.unwrap();
    for _ in 0..2 {
        soon("piece", answer.next()).await.unwrap().unwrap();
    }
    assert_eq!(soon("error", answer.next()).await.unwrap().unwrap_err().reason, "lost");
    assert!(answer.next().await.is_none());

    let start = Instant::now();
    let answer = history.ask("2 10 hang".into(), Patience::Whole(Duration::from_millis(300))).await;
    assert_eq!(soon("deadline", read(answer)).await.unwrap_err().kind, BusErrorKind::Timeout);
    assert!(start.elapsed() >= Duration::from_millis(290) && start.elapsed() < Duration::from_secs(3));

    // The same time for each piece is enough for any number of them, and ends the answer where one does not come.
    let slow = "8 1000 slow";
    let answer = history.ask(slow.into(), Patience::Whole(SHORT)).await;
    assert_eq!(soon("deadline", read(answer)).await.unwrap_err().kind, BusErrorKind::Timeout);
    let answer = history.ask(slow.into(), Patience::EachPiece(SHORT)).await;
    assert_eq!(soon("answer", read(answer)).await.unwrap().concat().len(), 8_000);
    let mut answer = history.ask("2 10 hang".into(), Patience::EachPiece(SHORT)).await.unwrap();
    for _ in 0..2 {
        soon("piece", answer.next()).await.unwrap().unwrap();
    }
    assert_eq!(soon("deadline", answer.next()).await.unwrap().unwrap_err().kind, BusErrorKind::Timeout);

    let answer = history.ask("3 600000".into(), Patience::Whole(Duration::MAX)).await;
    let pieces = soon("answer", read(answer)).await.unwrap();
    assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
    assert_eq!(pieces.concat().len(), 1_800_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_deadlines_over_nats() {
    let server = NatsServer::start();
    let _service = serve(server.url(), ServeOptions::default()).await;
    errors_and_deadlines(&asker(&server).await).await;
}

#[tokio::test]
async fn errors_and_deadlines_in_one_process() {
    errors_and_deadlines(&LocalHistory::new(Arc::new(Handler::default()))).await;
}

/// More than the window and the sockets hold, so that the service has to wait for the reader.
const LONG: &str = "200 262144";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_hold_up_no_questions_and_are_bounded_by_themselves() {
    let server = NatsServer::start();
    let options = ServeOptions { max_running: 1, max_waiting: 1, max_streams: 3, ..ServeOptions::default() };
    let service = serve(server.url(), options).await;
    let history = asker(&server).await;
    let stream = || history.ask(LONG.into(), Patience::EachPiece(SHORT));
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = stream().await.unwrap();
        soon("piece", stream.next()).await.unwrap().unwrap();
        streams.push(stream);
    }
    let error = soon("busy", stream()).await.err().unwrap();
    assert!(error.kind == BusErrorKind::Unavailable && error.reason.contains("busy"), "{error}");
    // There is one place to run, which none of them keeps.
    let answer = eventually("a place", async || read(history.ask("2 10".into(), MINUTE).await).await.ok()).await;
    assert_eq!(answer.len(), 2);

    // Longer than the patience has passed meanwhile, or passes now: it is not the service that was waited for.
    tokio::time::sleep_until((Instant::now() + SHORT).into()).await;
    let rest = soon("the rest", read(Ok(streams.remove(0)))).await.unwrap();
    assert_eq!(rest.concat().len(), 199 << 18);

    // A service that stops ends them; they could go on for hours.
    service.stop.cancel();
    let error = soon("the end", read(Ok(streams.remove(0)))).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    soon("the service ends", service.task).await.unwrap();
}
