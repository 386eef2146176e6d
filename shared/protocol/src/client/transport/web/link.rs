//! An open WebSocket of JavaScript as a stream and a sink of frames.
//!
//! Its events go into an inbox, from where the driver takes them. Guarantee: what came before the end is read before the end is told,
//! and once.
//!
//! What is received cannot be held back: more than [`MAX_RECEIVED_BYTES`] that nobody reads end the connection. What is sent lies with
//! the browser at once; while that is more than [`MAX_BUFFERED_BYTES`] nothing is added, and as no event tells when it shrinks, a timer
//! looks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, poll_fn, select};
use futures_util::{Sink, Stream};
use js_sys::{Function, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};
use web_time::Instant;

use super::{Frame, LinkError, LocalFuture, described, sleep};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Two answers of the largest size.
const MAX_RECEIVED_BYTES: usize = 130 << 20;
/// While the browser holds more than this, nothing is added.
const MAX_BUFFERED_BYTES: u32 = 1 << 20;
/// How often that is looked at.
const BUFFERED_POLL: Duration = Duration::from_millis(10);
/// A close frame without a code.
const NO_STATUS: u16 = 1005;
/// No close frame.
const ABNORMAL: u16 = 1006;
const FAILED: &str = "the connection failed, and JavaScript does not say why";

/// An open WebSocket.
pub(crate) struct Link {
    socket: WebSocket,
    inbox: Rc<RefCell<Inbox>>,
    heard: Instant,
    /// The wait for room, while there is one.
    room: Option<LocalFuture<()>>,
    _handlers: Handlers,
}

/// What JavaScript has told, until it is read.
#[derive(Default)]
struct Inbox {
    opened: bool,
    frames: VecDeque<Frame>,
    bytes: usize,
    ended: Option<Ending>,
    wakers: Vec<Waker>,
}

/// How a connection ended, by the server: `None` for a goodbye without words.
#[derive(Clone)]
struct Ending(Option<String>);

/// Must live as long as the socket may call them.
struct Handlers {
    _open: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
    _error: Closure<dyn FnMut(JsValue)>,
}

impl Link {
    /// Opens a WebSocket, or says why not.
    pub(super) async fn open(url: &str, subprotocol: Option<&str>) -> Result<Self, String> {
        if !Reflect::has(&js_sys::global(), &"WebSocket".into()).unwrap_or(false) {
            let reason = "this JavaScript has no WebSocket; Node has one from version 22 on, and from 20.10 with \
                          --experimental-websocket";
            return Err(reason.to_owned());
        }
        let socket = match subprotocol {
            Some(subprotocol) => WebSocket::new_with_str(url, subprotocol),
            None => WebSocket::new(url),
        };
        let mut link = Self::new(socket.map_err(|error| described(&error))?);
        let opened = poll_fn(|cx| link.poll_open(cx));
        match select(opened, pin!(sleep(CONNECT_TIMEOUT))).await {
            Either::Left((opened, _)) => opened?,
            Either::Right(_) => return Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        }
        match subprotocol {
            Some(wanted) if link.socket.protocol() != wanted => {
                Err(format!("the server chose the sub-protocol `{}` instead of {wanted}", link.socket.protocol()))
            }
            _ => Ok(link),
        }
    }

    fn new(socket: WebSocket) -> Self {
        socket.set_binary_type(BinaryType::Arraybuffer);
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let open = Closure::<dyn FnMut()>::new({
            let inbox = Rc::clone(&inbox);
            move || inbox.borrow_mut().change(|inbox| inbox.opened = true)
        });
        let message = Closure::<dyn FnMut(_)>::new({
            let (inbox, socket) = (Rc::clone(&inbox), socket.clone());
            move |event: MessageEvent| inbox.borrow_mut().receive(&event.data(), &socket)
        });
        let close = Closure::<dyn FnMut(_)>::new({
            let inbox = Rc::clone(&inbox);
            move |event: CloseEvent| inbox.borrow_mut().end(Ending::told_by(&event))
        });
        // Followed by a close event in browsers, but not always in Node.
        let error = Closure::<dyn FnMut(_)>::new({
            let inbox = Rc::clone(&inbox);
            move |event: JsValue| inbox.borrow_mut().end(Ending::told_by_error(&event))
        });
        socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        socket.set_onerror(Some(error.as_ref().unchecked_ref()));
        let handlers = Handlers { _open: open, _message: message, _close: close, _error: error };
        Self { socket, inbox, heard: Instant::now(), room: None, _handlers: handlers }
    }

    /// When a frame of the server was last read. Its pings are the browser's own business, which tells nobody of them.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    fn poll_open(&mut self, cx: &Context<'_>) -> Poll<Result<(), String>> {
        let mut inbox = self.inbox.borrow_mut();
        match &inbox.ended {
            Some(Ending(reason)) => {
                let reason = reason.clone().unwrap_or_else(|| "the server closed at once".to_owned());
                Poll::Ready(Err(format!("cannot connect: {reason}")))
            }
            None if inbox.opened => Poll::Ready(Ok(())),
            None => inbox.wait(cx),
        }
    }

    /// Why nothing can be sent any more, if so.
    fn broken(&self) -> Option<LinkError> {
        let inbox = self.inbox.borrow();
        let Ending(reason) = inbox.ended.as_ref()?;
        Some(LinkError(reason.clone().unwrap_or_else(|| "the server has closed".to_owned())))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // The handler of errors is no closure of ours from here on: a socket that is still connecting tells of one.
        self.socket.set_onerror(Some(&Function::new_no_args("")));
        // Fails only for codes that are none.
        let _ = self.socket.close();
    }
}

impl Inbox {
    fn receive(&mut self, data: &JsValue, socket: &WebSocket) {
        let frame = match data.as_string() {
            Some(text) => Frame::Text(text),
            None => Frame::Binary(Bytes::from(Uint8Array::new(data).to_vec())),
        };
        self.bytes += frame.len();
        if self.bytes > MAX_RECEIVED_BYTES {
            let reason = format!("more than {MAX_RECEIVED_BYTES} bytes were received and not read");
            // Fails only for codes that are none.
            let _ = socket.close();
            return self.end(Ending(Some(reason)));
        }
        self.change(|inbox| inbox.frames.push_back(frame));
    }

    fn end(&mut self, ending: Ending) {
        self.change(|inbox| {
            inbox.ended.get_or_insert(ending);
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Ending {
    /// Browsers keep the reason to themselves, Node tells it.
    fn told_by_error(event: &JsValue) -> Self {
        let told = Reflect::get(event, &"message".into()).ok().and_then(|message| message.as_string());
        Self(Some(match told.filter(|message| !message.is_empty()) {
            Some(message) => format!("the connection failed: {message}"),
            None => FAILED.to_owned(),
        }))
    }

    fn told_by(event: &CloseEvent) -> Self {
        match event.code() {
            NO_STATUS => Self(None),
            ABNORMAL => Self(Some(FAILED.to_owned())),
            code => Self(Some(format!("the server closed: {} ({code})", event.reason()))),
        }
    }
}

impl Stream for Link {
    type Item = Result<Frame, LinkError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let link = self.get_mut();
        let mut inbox = link.inbox.borrow_mut();
        if let Some(frame) = inbox.frames.pop_front() {
            inbox.bytes -= frame.len();
            link.heard = Instant::now();
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut inbox.ended {
            // Once; after that it is a stream that has ended.
            Some(Ending(reason)) => Poll::Ready(reason.take().map(|reason| Err(LinkError(reason)))),
            None => inbox.wait(cx),
        }
    }
}

impl Sink<Frame> for Link {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        loop {
            if let Some(error) = self.broken() {
                return Poll::Ready(Err(error));
            }
            if self.socket.buffered_amount() <= MAX_BUFFERED_BYTES {
                self.room = None;
                return Poll::Ready(Ok(()));
            }
            let room = self.room.get_or_insert_with(|| Box::pin(sleep(BUFFERED_POLL)));
            ready!(room.as_mut().poll(cx));
            self.room = None;
        }
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), LinkError> {
        let sent = match &frame {
            Frame::Text(text) => self.socket.send_with_str(text),
            // A copy: what is in our memory may move while JavaScript holds on to it.
            Frame::Binary(bytes) => self.socket.send_with_js_u8_array(&Uint8Array::from(&bytes[..])),
        };
        sent.map_err(|error| LinkError(described(&error)))
    }

    /// What was sent is on its way, as far as anybody here can know.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(self.broken().map_or(Ok(()), Err))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        // Fails only for codes that are none.
        let _ = self.socket.close();
        let mut inbox = self.inbox.borrow_mut();
        if inbox.ended.is_some() { Poll::Ready(Ok(())) } else { inbox.wait(cx) }
    }
}
