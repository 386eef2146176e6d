//! Reads events the way published clients write them: keys in their order, nothing between the tokens, small values.
//!
//! Nearly all events are written so, by the same few serialisers, and matching whole keys at a time takes a third of the time that
//! looking at each of them does. What is written in any other way is read by serde: a value where only that one differs, else the
//! event.
//!
//! Guarantee: what is read here, serde reads the same (a property test holds both beside each other). What is refused here is only
//! not read here; whether it is an event, and what is wrong with it, serde alone decides.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use uuid::Uuid;

use super::event::{Causality, Event, EventData, EventType, Message, Metrics, Str};
use super::skim::{Attributes, ByteArray};
use super::timestamp;

/// Not written in the usual way; it may still be an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusual;

/// The events of a JSON array, one after the other, nothing kept.
#[derive(Debug)]
pub struct EventArray<'a> {
    cursor: Cursor<'a>,
    begun: bool,
}

impl<'a> EventArray<'a> {
    /// Reads `array` from its beginning.
    pub fn new(array: &'a str) -> Self {
        Self { cursor: Cursor { text: array, at: 0 }, begun: false }
    }

    /// The next event; none at the end of the array, which must be the end of the text.
    ///
    /// # Errors
    /// [`Unusual`] when this is no array, or its next element no event: nothing is known then of what follows.
    pub fn next_event(&mut self) -> Result<Option<Event<'a>>, Unusual> {
        Ok(self.next_with_place()?.map(|(event, _)| event))
    }

    /// The next event and where in the array its JSON stands, bytes.
    ///
    /// # Errors
    /// As [`EventArray::next_event`].
    pub fn next_with_place(&mut self) -> Result<Option<(Event<'a>, Range<usize>)>, Unusual> {
        let cursor = &mut self.cursor;
        cursor.skip_blanks();
        if !self.begun {
            cursor.expect("[").ok_or(Unusual)?;
            cursor.skip_blanks();
        }
        if cursor.eat("]") {
            cursor.skip_blanks();
            return if cursor.rest().is_empty() { Ok(None) } else { Err(Unusual) };
        }
        if self.begun {
            cursor.expect(",").ok_or(Unusual)?;
            cursor.skip_blanks();
        }
        self.begun = true;
        let start = cursor.at;
        let event = cursor.or_serde(Cursor::event).ok_or(Unusual)?;
        Ok(Some((event, start..cursor.at)))
    }
}

impl<'a> Event<'a> {
    /// Reads one event.
    ///
    /// # Errors
    /// As serde has it.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut cursor = Cursor { text, at: 0 };
        match cursor.event() {
            Some(event) if cursor.rest().is_empty() => Ok(event),
            _ => serde_json::from_str(text),
        }
    }
}

/// A place in a text.
#[derive(Debug)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Steps over `literal` if it comes next. Inlined, because comparing with a known length is an instruction or two.
    #[inline(always)]
    fn eat(&mut self, literal: &str) -> bool {
        let comes = self.rest().starts_with(literal.as_bytes());
        self.at += if comes { literal.len() } else { 0 };
        comes
    }

    #[inline(always)]
    fn expect(&mut self, literal: &str) -> Option<()> {
        self.eat(literal).then_some(())
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    }

    /// A value as `quick` reads it, else as serde does.
    #[inline]
    fn or_serde<T: Deserialize<'a>>(&mut self, quick: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.at;
        match quick(self) {
            Some(value) => Some(value),
            None => self.by_serde(start),
        }
    }

    #[cold]
    fn by_serde<T: Deserialize<'a>>(&mut self, start: usize) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(&self.text[start..]).into_iter();
        let value = values.next()?.ok()?;
        self.at = start + values.byte_offset();
        Some(value)
    }

    #[inline]
    fn event(&mut self) -> Option<Event<'a>> {
        self.expect("{\"event_id\":")?;
        let event_id = self.uuid()?;
        self.expect(",\"timestamp\":")?;
        let timestamp = timestamp::parse(self.string()?)?;
        self.expect(",\"event_type\":")?;
        let event_type = self.or_serde(Self::event_type)?;
        self.expect(",\"actor_id\":")?;
        let actor_id = self.or_serde(Self::text)?;
        self.expect(",\"data\":")?;
        let data = self.or_serde(Self::data)?;
        self.expect(",\"causality\":")?;
        let causality = self.or_serde(Self::causality)?;
        self.expect("}")?;
        Some(Event { event_id, timestamp, event_type, actor_id, data, causality })
    }

    fn event_type(&mut self) -> Option<EventType<'a>> {
        if self.eat("{\"DataFlow\":{\"to_actor\":") {
            let to_actor = self.text()?;
            self.expect(",\"to_port\":")?;
            let to_port = self.text()?;
            self.expect("}}")?;
            return Some(EventType::DataFlow { to_actor, to_port });
        }
        Some(match self.string()? {
            "MessageSent" => EventType::MessageSent,
            "MessageReceived" => EventType::MessageReceived,
            "ActorStarted" => EventType::ActorStarted,
            "ActorCompleted" => EventType::ActorCompleted,
            "ActorFailed" => EventType::ActorFailed,
            "ActorCreated" => EventType::ActorCreated,
            "StateChanged" => EventType::StateChanged,
            "PortConnected" => EventType::PortConnected,
            "PortDisconnected" => EventType::PortDisconnected,
            "NetworkEvent" => EventType::NetworkEvent,
            _ => return None,
        })
    }

    fn data(&mut self) -> Option<EventData<'a>> {
        self.expect("{\"port\":")?;
        let port = self.or_serde(|cursor| cursor.optional(Self::text))?;
        self.expect(",\"message\":")?;
        let message = self.or_serde(|cursor| cursor.optional(Self::message))?;
        self.expect(",\"state_diff\":")?;
        let state_diff = self.or_serde(|cursor| cursor.expect("null").map(|()| None))?;
        self.expect(",\"error\":")?;
        let error = self.or_serde(|cursor| cursor.optional(Self::text))?;
        self.expect(",\"performance_metrics\":")?;
        let metrics = self.or_serde(|cursor| cursor.optional(Self::metrics))?;
        self.expect(",\"custom_attributes\":")?;
        let attributes = self.or_serde(|cursor| cursor.expect("{}").map(|()| Attributes::default()))?;
        self.expect("}")?;
        Some(EventData::new(port, message, state_diff, error, metrics, attributes))
    }

    fn message(&mut self) -> Option<Message<'a>> {
        self.expect("{\"message_type\":")?;
        let message_type = self.text()?;
        self.expect(",\"size_bytes\":")?;
        let size_bytes = self.optional(Self::number)?;
        self.expect(",\"checksum\":")?;
        let checksum = self.text()?;
        self.expect(",\"serialized_data\":")?;
        let data = self.or_serde(|cursor| cursor.expect("[]").map(|()| ByteArray))?;
        self.expect("}")?;
        Some(Message::new(message_type, size_bytes, checksum, data))
    }

    fn metrics(&mut self) -> Option<Metrics> {
        self.expect("{\"execution_time_ns\":")?;
        let execution_time_ns = self.optional(Self::number)?;
        self.expect(",\"memory_usage_bytes\":")?;
        let memory_usage_bytes = self.optional(Self::number)?;
        self.expect(",\"cpu_usage_percent\":")?;
        let cpu_usage_percent = self.or_serde(|cursor| cursor.optional(|cursor| cursor.zero().map(|()| 0.0)))?;
        self.expect(",\"queue_depth\":")?;
        let queue_depth = self.optional(Self::number)?;
        self.expect(",\"throughput_msgs_per_sec\":")?;
        let throughput_msgs_per_sec = self.or_serde(|cursor| cursor.optional(|cursor| cursor.zero().map(|()| 0.0)))?;
        self.expect("}")?;
        Some(Metrics { execution_time_ns, memory_usage_bytes, cpu_usage_percent, queue_depth, throughput_msgs_per_sec })
    }

    fn causality(&mut self) -> Option<Causality<'a>> {
        self.expect("{\"parent_event_id\":")?;
        let parent = self.optional(Self::uuid)?;
        self.expect(",\"root_cause_event_id\":")?;
        let root = self.uuid()?;
        self.expect(",\"dependency_chain\":")?;
        let chain = self.or_serde(|cursor| cursor.expect("[]").map(|()| Vec::new()))?;
        self.expect(",\"span_id\":")?;
        let span = self.text()?;
        self.expect("}")?;
        Some(Causality::new(parent, root, chain, span))
    }

    fn optional<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.eat("null") { Some(None) } else { value(self).map(Some) }
    }

    fn text(&mut self) -> Option<Str<'a>> {
        self.string().map(|text| Str(Cow::Borrowed(text)))
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.expect("\"")?;
        let length = self.rest().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length;
        self.expect("\"").map(|()| text)
    }

    /// An id in the form that is always written: with hyphens.
    fn uuid(&mut self) -> Option<Uuid> {
        self.expect("\"")?;
        let text = self.text.get(self.at..self.at + 36)?;
        self.at += text.len();
        self.expect("\"")?;
        Uuid::try_parse(text).ok()
    }

    /// A whole number without a sign.
    fn number(&mut self) -> Option<u64> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = self.text.get(self.at..self.at + digits)?;
        self.at += digits;
        // JSON has no leading zeros; what goes on with a point or an exponent is no whole number.
        let whole = digits == 1 || !text.starts_with('0');
        let ends = matches!(self.rest().first(), Some(b',' | b'}'));
        if whole && ends { text.parse().ok() } else { None }
    }

    /// The one fraction that is in nearly every event.
    fn zero(&mut self) -> Option<()> {
        self.expect("0.0")?;
        matches!(self.rest().first(), Some(b',' | b'}')).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TraceEvent;

    fn written() -> Vec<String> {
        let mut events = [
            TraceEvent::actor_created("a".into()),
            TraceEvent::actor_completed("ä".into()),
            TraceEvent::actor_failed("a".into(), "e".into()),
            TraceEvent::message_sent("a".into(), "p".into(), "T".into(), 1),
            TraceEvent::data_flow("a".into(), "p".into(), "b".into(), "q".into(), "T".into(), usize::MAX),
        ];
        events[1].data.performance_metrics.execution_time_ns = 17;
        events[1].data.performance_metrics.cpu_usage_percent = 1.5e-3;
        events[2].data.custom_attributes.insert("k".into(), serde_json::json!({"deep": [1, null]}));
        events[2].data.custom_attributes.insert("sample_rate".into(), serde_json::json!(0.25));
        events[3].causality.dependency_chain.push(crate::EventId::new());
        events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
    }

    fn all(array: &str) -> Result<Vec<Event<'_>>, Unusual> {
        let mut events = EventArray::new(array);
        std::iter::from_fn(|| events.next_event().transpose()).collect()
    }

    #[test]
    fn what_published_clients_write_is_read_here() {
        for text in written() {
            let mut cursor = Cursor { text: &text, at: 0 };
            let event = cursor.event().unwrap();
            assert_eq!(cursor.at, text.len());
            assert_eq!(format!("{event:?}"), format!("{:?}", serde_json::from_str::<Event<'_>>(&text).unwrap()));
        }
    }

    #[test]
    fn an_array_is_read_to_its_end_and_no_further() {
        let [one, two, ..] = &written()[..] else { unreachable!() };
        for (array, count) in [
            ("[]".to_owned(), Some(0)),
            (" [ ] ".to_owned(), Some(0)),
            (format!("[{one},{two}]"), Some(2)),
            (format!(" [ {one} ,\n{two}\t] "), Some(2)),
            (format!("[{one},{{\"causality\":0}}]"), None),
            (format!("[{one},]"), None),
            (format!("[{one}{two}]"), None),
            (format!("[,{one}]"), None),
            (format!("[{one}"), None),
            (format!("[{one}]]"), None),
            (one.clone(), None),
            (String::new(), None),
        ] {
            assert_eq!(all(&array).ok().map(|events| events.len()), count, "{array}");
            let mut events = EventArray::new(&array);
            while let Ok(Some((_, place))) = events.next_with_place() {
                assert!([one, two].into_iter().any(|event| array[place.clone()] == **event), "{array}");
            }
            assert_eq!(
                serde_json::from_str::<Vec<Event<'_>>>(&array).ok().map(|events| events.len()),
                count,
                "{array}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_serde_reads_the_same(
            pick in 0_usize..5, from in 0_usize..700, cut in 0_usize..12,
            put in prop_oneof!["", "[0-9]{1,3}", "null", "0\\.0", "\"", "\\\\u00e4", ",\"a\":1", "-?0[0-9]?\\.?e?", "\\PC{0,3}", "[ \n]"],
        ) {
            let mut text = written().swap_remove(pick);
            let from = text.floor_char_boundary(from.min(text.len()));
            let to = text.floor_char_boundary((from + cut).min(text.len())).max(from);
            text.replace_range(from..to, &put);
            let by_serde = serde_json::from_str::<Event<'_>>(&text).map(|event| format!("{event:?}")).ok();
            prop_assert_eq!(Event::parse(&text).map(|event| format!("{event:?}")).ok(), by_serde);
            let array = format!("[{text},{text}]");
            if let Ok(events) = all(&array) {
                let by_serde: Vec<Event<'_>> = serde_json::from_str(&array).unwrap();
                prop_assert_eq!(format!("{events:?}"), format!("{by_serde:?}"));
            }
        }
    }
}
