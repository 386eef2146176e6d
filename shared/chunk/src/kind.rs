//! Event types as small numbers and as a set in a `u32`.

use reflow_tracing_protocol::wire::EVENT_TYPES;

/// The type of an event without its fields. The number is the bit in a mask and is stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    /// `ActorCreated`
    ActorCreated = 0,
    /// `ActorStarted`
    ActorStarted = 1,
    /// `ActorCompleted`
    ActorCompleted = 2,
    /// `ActorFailed`
    ActorFailed = 3,
    /// `MessageSent`
    MessageSent = 4,
    /// `MessageReceived`
    MessageReceived = 5,
    /// `StateChanged`
    StateChanged = 6,
    /// `PortConnected`
    PortConnected = 7,
    /// `PortDisconnected`
    PortDisconnected = 8,
    /// `DataFlow`
    DataFlow = 9,
    /// `NetworkEvent`
    NetworkEvent = 10,
}

impl EventKind {
    /// Every kind, by number.
    pub const ALL: [Self; 11] = [
        Self::ActorCreated,
        Self::ActorStarted,
        Self::ActorCompleted,
        Self::ActorFailed,
        Self::MessageSent,
        Self::MessageReceived,
        Self::StateChanged,
        Self::PortConnected,
        Self::PortDisconnected,
        Self::DataFlow,
        Self::NetworkEvent,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        EVENT_TYPES[self as usize]
    }
}

/// A set of event kinds, as stored in headers and summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSet(pub u32);

impl KindSet {
    /// Adds a kind.
    pub fn insert(&mut self, kind: EventKind) {
        self.0 |= 1 << kind as u8;
    }

    /// Whether the kind is in the set.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Whether the two sets share a kind.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The kinds in the set, by number. Bits of newer versions are skipped.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<EventKind> for KindSet {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        let mut set = Self::default();
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_variants() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.name()), (number, format!("{kind:?}").as_str()));
        }
    }
}
