//! Child processes that cannot outlive the test.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};

type Job = (Command, SyncSender<std::io::Result<Child>>);

/// Starts a program that the kernel kills when this process ends. The signal comes when the *thread* that started the child
/// ends, so all are started by one thread that lives as long as the process.
pub fn spawn(program: &str, args: &[String]) -> Child {
    static SPAWNER: OnceLock<Mutex<SyncSender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = sync_channel::<Job>(1);
        std::thread::spawn(move || {
            for (mut command, done) in queue {
                done.send(command.spawn()).unwrap();
            }
        });
        Mutex::new(jobs)
    });
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (done, started) = sync_channel(1);
    spawner.lock().unwrap().send((command, done)).unwrap();
    started.recv().unwrap().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
}

/// Sends a signal, as in `kill -STOP`.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
