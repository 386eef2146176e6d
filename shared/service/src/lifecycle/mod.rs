//! From the first signal to the exit code: one path, whether somebody asked to stop or a part of the service crashed.
//!
//! A service declares its *stages* in the order in which data flows (sessions, then writer, then store) and spawns its
//! tasks in them. A shutdown goes through the stages in that order: each is told to stop and has its own deadline to
//! end, so that what feeds a stage has ended before the stage itself stops. That is the *soft* level. The *hard* level
//! (a second signal, or the deadline of the whole) tells everybody at once and waits no longer than a second.
//!
//! Signals are read only here, and only by whoever holds [`Signals`], which is `run`.

mod signals;
mod stage;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use signals::Signals;
pub use stage::Stage;

use crate::{exit::Exit, readiness::Readiness};

/// How long the hard level waits for tasks that were told to drop everything.
const HARD_GRACE: Duration = Duration::from_secs(1);

/// Why a shutdown began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A signal, by its name.
    Signal(&'static str),
    /// Somebody inside asked for it.
    Requested,
    /// The start failed.
    FailedStart,
    /// A task ended, failed or panicked while it should have run.
    Crash {
        /// Which task.
        task: String,
        /// How it ended.
        reason: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::Requested => f.write_str("requested"),
            Self::FailedStart => f.write_str("failed start"),
            Self::Crash { task, reason } => write!(f, "task {task} {reason}"),
        }
    }
}

/// The two levels of a shutdown, for whoever has to obey them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Cancelled when a shutdown begins. What belongs to a stage obeys [`Stage::stop`] instead, which comes in its turn.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when there is no more time: drop everything.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }
}

/// The life of one process. Clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shutdown: Shutdown,
    cause: Mutex<Option<Cause>>,
    /// A task that failed after the shutdown had begun.
    failed_late: Mutex<Option<String>>,
    stages: Mutex<Vec<Stage>>,
    readiness: Readiness,
    deadline: Duration,
}

impl Lifecycle {
    /// `deadline` bounds the whole of a shutdown, whatever the stages' own deadlines add up to.
    pub fn new(readiness: Readiness, deadline: Duration) -> Self {
        Self(Arc::new(Inner {
            shutdown: Shutdown::default(),
            cause: Mutex::default(),
            failed_late: Mutex::default(),
            stages: Mutex::default(),
            readiness,
            deadline,
        }))
    }

    /// Declares the next stage. Order matters: stages stop in the order in which they were declared.
    pub fn stage(&self, name: &'static str, deadline: Duration) -> Stage {
        let stage = Stage::new(name, deadline, self.clone());
        locked(&self.0.stages).push(stage.clone());
        stage
    }

    /// The two levels, for what belongs to no stage.
    pub fn shutdown(&self) -> Shutdown {
        self.0.shutdown.clone()
    }

    /// Begins a shutdown; the first cause is kept. Returns at once.
    pub fn begin(&self, cause: Cause) {
        let mut first = locked(&self.0.cause);
        if first.is_none() {
            match &cause {
                Cause::Crash { .. } | Cause::FailedStart => tracing::error!(%cause, "shutting down"),
                _ => tracing::info!(%cause, "shutting down"),
            }
            *first = Some(cause);
            self.0.readiness.drain();
            self.0.shutdown.soft.cancel();
        }
    }

    /// Waits for a signal or another reason to stop, drains, and says how the program ends.
    pub async fn run_until(&self, signals: &mut Signals) -> Exit {
        tokio::select! {
            name = signals.recv() => self.begin(Cause::Signal(name)),
            () = self.0.shutdown.soft.cancelled() => {}
        }
        let cut = self.drain(signals).await;
        let failed_late = locked(&self.0.failed_late).clone();
        let exit = match (&*locked(&self.0.cause), failed_late) {
            (Some(Cause::Crash { .. }), _) | (_, Some(_)) => Exit::Crash,
            (Some(Cause::FailedStart), _) => Exit::Failed,
            _ if cut => Exit::Cut,
            _ => Exit::Clean,
        };
        tracing::info!(code = exit.code(), "stopped");
        exit
    }

    /// True when something was cut off.
    async fn drain(&self, signals: &mut Signals) -> bool {
        let began = Instant::now();
        // Only a second signal is the hard level; a first one after a crash asks for what is already going on.
        let already = u8::from(matches!(*locked(&self.0.cause), Some(Cause::Signal(_))));
        let impatience = async {
            for _ in already..2 {
                signals.recv().await;
            }
            "second signal"
        };
        let stages = locked(&self.0.stages).clone();
        let soft = async {
            let mut cut = false;
            for stage in &stages {
                cut |= stage.drain().await;
            }
            cut
        };
        let reason = tokio::select! {
            cut = soft => return cut,
            reason = impatience => reason,
            () = sleep(self.0.deadline) => "deadline passed",
        };
        tracing::warn!(reason, elapsed_ms = millis(began.elapsed()), "dropping what is left");
        self.0.shutdown.hard.cancel();
        let everything = async {
            for stage in &stages {
                stage.tell();
            }
            for stage in &stages {
                stage.ended().await;
            }
        };
        if timeout(HARD_GRACE, everything).await.is_err() {
            stages.iter().for_each(Stage::abort);
        }
        true
    }

    /// What a stage reports of a task that ended in a way it should not.
    fn failed(&self, task: &str, reason: String, stopping: bool) {
        if stopping {
            tracing::error!(task, reason, "task failed while draining");
            locked(&self.0.failed_late).get_or_insert_with(|| task.to_owned());
        }
        // Also when its own stage was told to stop already: then this changes nothing.
        self.begin(Cause::Crash { task: task.to_owned(), reason });
    }
}

/// Spawns a future that belongs to no stage and may end at any time, but whose panic is a crash all the same.
pub fn spawn_watched(lifecycle: &Lifecycle, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    let lifecycle = lifecycle.clone();
    let task = tokio::spawn(future);
    tokio::spawn(async move {
        if let Err(error) = task.await
            && error.is_panic()
        {
            lifecycle.failed(name, "panicked".to_owned(), lifecycle.0.shutdown.soft.is_cancelled());
        }
    });
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one assignment, so a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
