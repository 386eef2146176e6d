//! Timers of JavaScript.

use std::time::Duration;

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::call;

/// Longer timers fire at once.
const MAX_TIMER_MS: u128 = i32::MAX as u128;

/// Sleeps.
pub(crate) async fn sleep(duration: Duration) {
    let mut left_ms = duration.as_nanos().div_ceil(1_000_000);
    loop {
        let part_ms = left_ms.min(MAX_TIMER_MS);
        Timer::start(part_ms as i32).fired().await;
        left_ms -= part_ms;
        if left_ms == 0 {
            return;
        }
    }
}

/// A timer of JavaScript; taken back when dropped.
struct Timer {
    fires: Promise,
    id: JsValue,
}

impl Timer {
    fn start(ms: i32) -> Self {
        let mut id = JsValue::UNDEFINED;
        let fires = Promise::new(&mut |resolve, _| id = call("setTimeout", &resolve, &ms.into()));
        Self { fires, id }
    }

    async fn fired(self) {
        // Never rejected.
        let _ = JsFuture::from(self.fires.clone()).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        call("clearTimeout", &self.id, &JsValue::UNDEFINED);
    }
}
