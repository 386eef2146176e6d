//! What the published interface has no room for: content, and the kinds of events it cannot tell.
//!
//! Content is handed over and measured in the background: checksum, size, and the content itself where the setting `capture_content` says so.
//! Every call gives the event as a [`Cause`]: what follows from it can be recorded in its scope.

use serde_json::Value;

use super::TracingIntegration;
use crate::client::buffer::Finish;
use crate::client::{Capture, Cause, Content, Result};
use crate::{StateDiff, StateDiffType, TraceEvent, TraceEventType};

/// Content beyond this is not captured, only measured: one event would be a batch of its own.
const MOST_CAPTURED_BYTES: usize = 64 << 10;

impl TracingIntegration {
    /// A message left an out-port, with its content.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_message_sent_with(
        &self,
        actor_id: impl Into<String>,
        port: impl Into<String>,
        message_type: impl Into<String>,
        content: impl Into<Content>,
    ) -> Result<Cause> {
        let event = TraceEvent::message_sent(actor_id.into(), port.into(), message_type.into(), 0);
        self.put_caused(event, self.measured(content.into())).await
    }

    /// A message reached an in-port, with its content. In the scope of what this gives, what the actor does about it has it as its cause.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_message_received(
        &self,
        actor_id: impl Into<String>,
        port: impl Into<String>,
        message_type: impl Into<String>,
        content: impl Into<Content>,
    ) -> Result<Cause> {
        let mut event = TraceEvent::message_sent(actor_id.into(), port.into(), message_type.into(), 0);
        event.event_type = TraceEventType::MessageReceived;
        self.put_caused(event, self.measured(content.into())).await
    }

    /// A message flowed along a connection, with its content. Its cause is as in [`trace_data_flow`](Self::trace_data_flow).
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_data_flow_with(
        &self,
        from_actor: impl Into<String>,
        from_port: impl Into<String>,
        to_actor: impl Into<String>,
        to_port: impl Into<String>,
        message_type: impl Into<String>,
        content: impl Into<Content>,
    ) -> Result<Cause> {
        let (from_actor, from_port) = (from_actor.into(), from_port.into());
        let event =
            TraceEvent::data_flow(from_actor, from_port, to_actor.into(), to_port.into(), message_type.into(), 0);
        self.put_caused(event, self.measured(content.into())).await
    }

    /// An actor's state changed. Checksum and size of the new state are in the attributes `state_checksum` and `state_size_bytes`; the
    /// states themselves (canonical JSON) are in `state_diff` where `capture_content` says so.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_state_changed(
        &self,
        actor_id: impl Into<String>,
        before: Option<Content>,
        after: impl Into<Content>,
    ) -> Result<Cause> {
        let event = TraceEvent::of(TraceEventType::StateChanged, actor_id.into());
        let (after, captured) = (after.into(), self.client.settings().capture_content);
        let bytes = after.memory_bytes() + before.as_ref().map_or(0, Content::memory_bytes);
        let finish: Finish = Box::new(move |event| state(event, before, &after, captured));
        self.put_caused(event, Some((finish, bytes))).await
    }

    /// A port was connected.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_port_connected(&self, actor_id: impl Into<String>, port: impl Into<String>) -> Result<Cause> {
        self.port(TraceEventType::PortConnected, actor_id.into(), port.into()).await
    }

    /// A port was disconnected.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_port_disconnected(&self, actor_id: impl Into<String>, port: impl Into<String>) -> Result<Cause> {
        self.port(TraceEventType::PortDisconnected, actor_id.into(), port.into()).await
    }

    /// Something happened to the network, or to an actor of it, that no other event tells.
    ///
    /// # Errors
    /// As [`TracingClient::record_event`](crate::client::TracingClient::record_event).
    pub async fn trace_network_event(
        &self,
        actor_id: impl Into<String>,
        attributes: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Cause> {
        let mut event = TraceEvent::of(TraceEventType::NetworkEvent, actor_id.into());
        event.data.custom_attributes.extend(attributes);
        self.put_caused(event, None).await
    }

    async fn port(&self, event_type: TraceEventType, actor_id: String, port: String) -> Result<Cause> {
        let mut event = TraceEvent::of(event_type, actor_id);
        event.data.port = Some(port);
        self.put_caused(event, None).await
    }

    fn measured(&self, content: Content) -> Option<(Finish, usize)> {
        let capture = match self.client.settings().capture_content {
            true => Capture::UpTo(MOST_CAPTURED_BYTES),
            false => Capture::Off,
        };
        let bytes = content.memory_bytes();
        Some((Box::new(move |event: &mut TraceEvent| content.fill(event, capture)), bytes))
    }
}

fn state(event: &mut TraceEvent, before: Option<Content>, after: &Content, captured: bool) {
    let json = after.canonical_json();
    let attributes = &mut event.data.custom_attributes;
    attributes.insert("state_checksum".to_owned(), after.checksum().into());
    attributes.insert("state_size_bytes".to_owned(), json.len().into());
    if captured && json.len() <= MOST_CAPTURED_BYTES {
        let before = before.map(|before| before.canonical_json().into_bytes());
        let before = before.filter(|before| before.len() <= MOST_CAPTURED_BYTES);
        event.data.state_diff = Some(StateDiff { before, after: json.into_bytes(), diff_type: StateDiffType::Full });
    }
}
