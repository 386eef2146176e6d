//! A whole program, as a process of its own: this test executable starts itself as one, asks its ports, sends it real
//! signals and looks at the exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use clap::Parser;
use reflow_tracing_service::{CommonArgs, Role, run, run_job, work_span};

const CHILD: &str = "SERVICE_TEST_CHILD";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

/// The program, when this executable was started as one; an empty test otherwise.
#[test]
fn child() {
    let Ok(words) = std::env::var(CHILD) else { return };
    let mut words = words.split(' ').filter(|word| !word.is_empty());
    let behaviour = words.next().unwrap_or_default().to_owned();
    let args = Args::parse_from(std::iter::once("reflow-tracing").chain(words)).common;
    let code = if behaviour == "job" {
        run_job(Role::StoreJob, &args, async |config| {
            anyhow::ensure!(config.tenant == "default", "postgres://u:hunter2@h is wrong");
            Ok(())
        })
    } else {
        run(Role::Standalone, &args, async |service| {
            let _listener = service.listen().await?;
            let stage = service.lifecycle.stage("work", PATIENCE);
            let stop = stage.stop();
            let way = behaviour.clone();
            stage.spawn("worker", async move {
                if way == "panic" {
                    panic!("on purpose");
                }
                stop.cancelled().await;
                if way == "stuck" {
                    std::future::pending::<()>().await;
                }
                Ok(())
            });
            work_span!("a_span_to_find").in_scope(|| tracing::info!("inside"));
            anyhow::ensure!(behaviour != "fail", "cannot reach nats://hunter2@n:4222");
            if behaviour == "slow" {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    };
    // `ExitCode` has no number to read; it prints as `ExitCode(unix_exit_status(3))`.
    let text = format!("{code:?}");
    let code = text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    std::process::exit(code);
}

struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Program {
    fn start(words: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--nocapture"]).env(CHILD, words).env_remove("RUST_LOG");
        let mut child =
            command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stderr.take().unwrap());
        Self { child, lines, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{text}` in:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit code, and all that was printed.
    fn end(mut self) -> (i32, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        let rest: Vec<_> = self.lines.iter().collect();
        (code, format!("{}{}\n{out}", self.seen, rest.join("\n")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A failed assertion must not leave it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

const FREE: &str = "--port 0 --metrics-port 0";

#[test]
fn sigterm_drains_and_ends_with_0() {
    let mut program = Program::start(&format!("run {FREE}"), &[]);
    let line = program.wait_for("listening for metrics and probes");
    let address: SocketAddr = line.rsplit("address=").next().unwrap().trim().parse().unwrap();
    program.wait_for("started");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("\"start\":true"), "{answer}");
    program.signal("-TERM");
    let (code, text) = program.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("SIGTERM") && text.contains("stage stopped"), "{text}");
}

#[test]
fn a_second_signal_ends_with_3() {
    let mut program = Program::start(&format!("stuck {FREE}"), &[]);
    program.wait_for("started");
    program.signal("-INT");
    program.wait_for("shutting down");
    program.signal("-TERM");
    let (code, text) = program.end();
    assert_eq!(code, 3, "{text}");
}

#[test]
fn the_drain_deadline_ends_with_3() {
    let mut program = Program::start(&format!("stuck {FREE} --set limits.drain_deadline_secs=1"), &[]);
    program.wait_for("started");
    program.signal("-TERM");
    let (code, text) = program.end();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("deadline passed"), "{text}");
}

#[test]
fn a_signal_during_the_start_stops_it() {
    let mut program = Program::start(&format!("slow {FREE}"), &[]);
    program.wait_for("listening for programs");
    program.signal("-TERM");
    let (code, text) = program.end();
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("started"), "{text}");
}

#[test]
fn a_panicking_task_ends_with_70() {
    let (code, text) = Program::start(&format!("panic {FREE}"), &[]).end();
    assert_eq!(code, 70, "{text}");
    assert!(text.contains("on purpose"), "{text}");
}

#[test]
fn a_failed_start_ends_with_1_and_hides_passwords() {
    let (code, text) = Program::start(&format!("fail {FREE}"), &[]).end();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nats://***@n:4222") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_taken_port_names_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, text) = Program::start(&format!("run --port {port} --metrics-port 0"), &[]).end();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("REFLOW_TRACING_PORT (server.port)"), "{text}");
}

#[test]
fn bad_configuration_ends_with_2_and_tells_flags_too() {
    let (code, text) =
        Program::start("run --port x --set limits.nope=1 --set hunter2", &[("REFLOW_TRACING_NOPE", "1")]).end();
    assert_eq!(code, 2, "{text}");
    for expected in [
        "4 mistakes",
        "flag --port: ",
        "flag --set limits.nope: ",
        "number 2 does not begin with a key and `=`",
        "REFLOW_TRACING_NOPE",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let (code, text) = Program::start(&format!("run {FREE}"), &[("RUST_LOG", "info=info=info")]).end();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("RUST_LOG"), "{text}");
}

#[test]
fn printing_and_checking_need_no_service() {
    let environment = [("REFLOW_TRACING_POSTGRES_URL", "postgres://u:hunter2@db.example/x")];
    let (code, text) = Program::start("run --print-config --port 7", &environment).end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("port = 7  # flag --port") && text.contains("backend = \"postgres\""), "{text}");
    assert!(text.contains("db.example") && !text.contains("hunter2"), "{text}");
    let (code, text) = Program::start("run --check-config", &[]).end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("the configuration of reflow-tracing is good"), "{text}");
}

#[test]
fn health_asks_the_running_service() {
    let mut program = Program::start(&format!("run {FREE}"), &[]);
    let line = program.wait_for("listening for metrics and probes");
    let port = line.rsplit(':').next().unwrap().trim().to_owned();
    program.wait_for("started");
    let (code, text) = Program::start(&format!("run --health --host 0.0.0.0 --metrics-port {port}"), &[]).end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\"ready\":true"), "{text}");
    drop(program);
    let (code, text) = Program::start(&format!("run --health --metrics-port {port}"), &[]).end();
    assert_eq!(code, 1, "{text}");
}

#[test]
fn jobs_end_by_themselves() {
    assert_eq!(Program::start("job", &[]).end().0, 0);
    let (code, text) = Program::start("job --set tenant=other", &[]).end();
    assert_eq!(code, 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn rust_log_decides_what_is_logged() {
    for (filter, info) in [("error", false), ("info", true), ("", true)] {
        let (code, text) = Program::start(&format!("fail {FREE}"), &[("RUST_LOG", filter)]).end();
        assert_eq!((code, text.contains("INFO")), (1, info), "{filter}: {text}");
        assert!(!text.contains("DEBUG") && !text.contains("TRACE"), "{filter}: {text}");
    }
}

#[test]
fn json_logs_are_json() {
    let mut program = Program::start(&format!("run {FREE} --set telemetry.log_format=json"), &[]);
    let line = program.wait_for("listening for metrics and probes");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&json["level"], &json["message"]), (&"INFO".into(), &"listening for metrics and probes".into()));
    assert!(json["address"].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// Enough of HTTP/2 to receive: the server's part is one empty SETTINGS frame; the spans come in plain protobuf.
#[test]
fn own_spans_reach_the_collector() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut program = Program::start(&format!("run {FREE} --set telemetry.otlp_endpoint={endpoint}"), &[]);
    program.wait_for("started");
    program.signal("-TERM");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4_096]);
    let found = |received: &[u8], text: &str| received.windows(text.len()).any(|window| window == text.as_bytes());
    while !(found(&received, "a_span_to_find") && found(&received, "reflow-tracing")) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed before the span came");
        received.extend_from_slice(&buffer[..count]);
    }
    // Closing without an answer is an outage of the collector, which costs nothing but the spans. No line of the log is longer.
    drop((stream, listener));
    let (code, text) = program.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("inside") && !text.contains("a_span_to_find"), "{text}");
    assert!(text.contains("own spans were lost in all") && text.contains("spans=1"), "{text}");
}
