//! What travels through the pipeline: an order, how often it was tried, and which event led to it.

use anyhow::{Context, Result};
use reflow_actor::message::{EncodableValue, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// An order. What a stage finds out is none before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its number, from 1.
    pub number: u64,
    /// What is ordered.
    pub pieces: u64,
    /// What it costs, cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cents: Option<u64>,
    /// The shelf it is taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shelf: Option<u64>,
    /// How risky it is, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<u64>,
}

/// An order on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The order.
    pub order: Order,
    /// How often the next stage has failed on it.
    pub failures: u32,
    /// What led to it.
    pub cause: Cause,
}

/// The event that led to a message, and those that led to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The first of them.
    pub root: Option<Uuid>,
    /// From the first to the last, the newest sixteen.
    pub chain: Vec<Uuid>,
    /// One for each order.
    pub span: String,
}

/// Longest chain that is kept: what a reader follows, and a bound on the size of events.
const CHAIN: usize = 16;

impl Cause {
    /// The cause of what comes after this event.
    pub fn then(&self, event: Uuid) -> Self {
        let mut chain = self.chain.clone();
        chain.push(event);
        chain.drain(..chain.len().saturating_sub(CHAIN));
        Self { root: self.root.or(Some(event)), chain, span: self.span.clone() }
    }
}

impl Order {
    /// The same order with what either knows.
    pub fn with(self, other: Self) -> Self {
        Self {
            cents: self.cents.or(other.cents),
            shelf: self.shelf.or(other.shelf),
            risk: self.risk.or(other.risk),
            ..self
        }
    }
}

impl Envelope {
    /// As a message.
    ///
    /// # Errors
    /// Never in practice: everything in it is JSON.
    pub fn into_message(self) -> Result<Message> {
        let value = serde_json::to_value(self).context("an order is no JSON")?;
        Ok(Message::Object(Arc::new(EncodableValue::from(value))))
    }

    /// Out of a message.
    ///
    /// # Errors
    /// When it is another kind of message.
    pub fn from_message(message: &Message) -> Result<Self> {
        let Message::Object(object) = message else { anyhow::bail!("not an order: {message:?}") };
        let value: Value = object.as_ref().clone().into();
        serde_json::from_value(value).context("not an order")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_travels_as_it_is() {
        let cause = Cause { span: "s".into(), ..Cause::default() }.then(Uuid::from_u128(1)).then(Uuid::from_u128(2));
        let order = Order { number: 7, pieces: 2, cents: Some(u64::MAX >> 12), ..Order::default() };
        let envelope = Envelope { order, failures: 1, cause };
        let message = envelope.clone().into_message().unwrap();
        assert_eq!(Envelope::from_message(&message).unwrap(), envelope);
        assert!(Envelope::from_message(&Message::Flow).is_err());
    }

    #[test]
    fn a_chain_keeps_its_root_and_its_newest_events() {
        let cause = (1..=40).fold(Cause::default(), |cause, number| cause.then(Uuid::from_u128(number)));
        assert_eq!(cause.root, Some(Uuid::from_u128(1)));
        assert_eq!(cause.chain, (25..=40).map(Uuid::from_u128).collect::<Vec<_>>());
    }
}
