//! Browsers, their workers, and Node: the WebSocket and the timers that JavaScript has, and tasks of its event loop.
//!
//! Guarantee: nothing here blocks, and everything that JavaScript would call back is taken from it before it goes.
//!
//! Different from native programs, because JavaScript is:
//!
//! - A handshake has no headers: a token cannot be sent, which is an error and not left out; limits come in the first frame.
//! - A failed handshake says nothing about why. Whether it was the sub-protocol shows by connecting without.
//! - What is received cannot be held back, and of what is sent only `bufferedAmount` tells where it is: see `link.rs`.
//! - Timers of a page in the background fire once a second or less often: its batches wait a little longer.

use std::future::Future;
use std::time::Duration;

use js_sys::{Function, Reflect};
use wasm_bindgen::prelude::*;

use super::{ConnectError, Frame, LinkError, LocalFuture, Target};

mod link;
mod timer;

pub(crate) use link::Link;
pub(crate) use timer::sleep;

/// Opens a WebSocket.
pub(crate) async fn connect(target: &Target) -> Result<Link, ConnectError> {
    if target.token.is_some() {
        let reason = "a token is set, which JavaScript cannot send in a WebSocket's handshake: connect without, \
                      through a proxy that knows who is asking";
        return Err(ConnectError::Failed(reason.to_owned()));
    }
    let url = target.url.as_str();
    let Some(subprotocol) = target.subprotocol else {
        return Link::open(url, None).await.map_err(ConnectError::Failed);
    };
    let refused = match Link::open(url, Some(subprotocol)).await {
        Ok(link) => return Ok(link),
        Err(reason) => reason,
    };
    // A server that is away refuses this as well. One that came back in this moment takes the sub-protocol now.
    drop(Link::open(url, None).await.map_err(|_| ConnectError::Failed(refused))?);
    Link::open(url, Some(subprotocol)).await.map_err(ConnectError::SubProtocol)
}

/// What JavaScript threw.
fn described(error: &JsValue) -> String {
    let message = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    message.unwrap_or_else(|| format!("{error:?}"))
}

/// The background is a task of the event loop, which nobody can wait for.
pub(crate) struct Background;

/// Runs what `make` makes as a task of the event loop.
pub(crate) fn run(make: impl FnOnce() -> LocalFuture<()> + Send + 'static) -> std::io::Result<Background> {
    spawn(make());
    Ok(Background)
}

/// Returns at once: here nobody can wait without `await`. The background goes on by itself, as long as the page is there.
pub(crate) fn join(_background: &Background, _at_most: Duration) {}

/// Runs a task beside the driver.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(future);
}

/// Calls a function that every JavaScript with a WebSocket has, in pages, workers and Node alike.
fn call(name: &str, first: &JsValue, second: &JsValue) -> JsValue {
    let global = js_sys::global();
    let function = Reflect::get(&global, &name.into()).and_then(JsCast::dyn_into::<Function>);
    function.and_then(|function| function.call2(&global, first, second)).unwrap_or_default()
}
