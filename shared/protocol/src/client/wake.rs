//! Wakes the background, and only when it sleeps: a system call costs more than everything else about recording an event.
//!
//! Guarantee: nothing is overlooked. A pusher makes its event visible and then looks at the flag; the background raises the flag and
//! then looks for events. All four steps are sequentially consistent, so at least one of the two sees the other.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub(crate) struct Wake {
    asleep: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// After an event was pushed.
    pub(crate) fn if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// In any case: a command waits.
    pub(crate) fn now(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// The background is about to sleep until it is woken. It must look for events once more after this.
    pub(crate) fn going_to_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// The background is awake and looks for events by itself.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Returns when woken; a wake-up since the last call counts.
    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}
