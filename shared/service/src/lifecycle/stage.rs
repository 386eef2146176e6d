//! One stage of the data flow: tasks that stop together, in the stage's turn, within its deadline.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinError},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Lifecycle, locked, millis};

type Closing = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Tasks that stop together. Clones are the same stage.
#[derive(Clone)]
pub struct Stage {
    name: &'static str,
    deadline: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
    aborts: Arc<Mutex<Vec<AbortHandle>>>,
    closings: Arc<Mutex<Vec<(&'static str, Closing)>>>,
    lifecycle: Lifecycle,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the lifecycle: it holds its stages.
        f.debug_struct("Stage").field("name", &self.name).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Stage {
    pub(super) fn new(name: &'static str, deadline: Duration, lifecycle: Lifecycle) -> Self {
        Self {
            name,
            deadline,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            aborts: Arc::default(),
            closings: Arc::default(),
            lifecycle,
        }
    }

    /// Cancelled when it is this stage's turn to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that must live until [`Stage::stop`] is cancelled. If it ends, fails or panics before, the whole
    /// service shuts down; if it fails afterwards, the exit code says so.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let task = tokio::spawn(future);
        locked(&self.aborts).push(task.abort_handle());
        let (lifecycle, stop) = (self.lifecycle.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let result = task.await;
            let stopping = stop.is_cancelled();
            if let Some(reason) = judge(result, stopping) {
                lifecycle.failed(name, reason, stopping);
            }
        });
    }

    /// Something to do once the stage's tasks have ended, within the same deadline: flush, close a pool.
    pub fn finally<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        locked(&self.closings).push((name, Box::pin(future)));
    }

    /// Tells the tasks to stop and waits for them. True when something was cut off.
    pub(super) async fn drain(&self) -> bool {
        let began = Instant::now();
        tracing::debug!(stage = self.name, "stage stops");
        self.tell();
        let work = async {
            self.ended().await;
            let closings = std::mem::take(&mut *locked(&self.closings));
            for (name, closing) in closings {
                if let Err(error) = closing.await {
                    self.lifecycle.failed(name, format!("failed: {error:#}"), true);
                }
            }
        };
        let cut = timeout(self.deadline, work).await.is_err();
        if cut {
            tracing::warn!(stage = self.name, deadline_ms = millis(self.deadline), "stage cut off at its deadline");
            // What runs on could use what later stages close.
            self.abort();
        } else {
            tracing::info!(stage = self.name, elapsed_ms = millis(began.elapsed()), "stage stopped");
        }
        cut
    }

    pub(super) fn tell(&self) {
        self.stop.cancel();
    }

    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn abort(&self) {
        locked(&self.aborts).iter().for_each(AbortHandle::abort);
    }
}

/// What is wrong with how a task ended, if anything.
fn judge(result: Result<anyhow::Result<()>, JoinError>, stopping: bool) -> Option<String> {
    match result {
        Ok(Ok(())) if stopping => None,
        Ok(Ok(())) => Some("ended although nobody asked it to".to_owned()),
        Ok(Err(error)) => Some(format!("failed: {error:#}")),
        Err(error) if error.is_panic() => {
            let payload = error.into_panic();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            Some(format!("panicked: {}", text.unwrap_or("no message")))
        }
        // Aborted, which only a passed deadline does.
        Err(_) => None,
    }
}
