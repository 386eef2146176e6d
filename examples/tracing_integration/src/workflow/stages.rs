//! What each stage does with an order: pure functions of order, state and seed, so that a seed always gives the same run.
//!
//! ```text
//! source → validate ─┬→ price ─┬→ join → charge ─┬→ ledger
//!                    ├→ stock ─┤                 └→ dead_letters
//!                    └→ risk ──┘
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::order::Order;

/// Attempts that a stage has before an order is given up.
pub const ATTEMPTS: u32 = 4;

/// An actor's state, in a fixed order.
pub type State = BTreeMap<String, Value>;

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Makes so many orders.
    Source(u64),
    /// Lets orders through that have pieces.
    Validate,
    /// Finds the price.
    Price,
    /// Finds the shelf.
    Stock,
    /// Finds the risk.
    Risk,
    /// Waits for all three.
    Join,
    /// Charges; fails as often as told.
    Charge(f64),
    /// Sums up what was charged.
    Ledger,
    /// Keeps what was given up.
    DeadLetters,
}

/// What leaves a stage, and where.
pub type Outputs = Vec<(&'static str, Order)>;

/// The connections: from where, through which port, to where, into which port.
pub const CONNECTIONS: &[(&str, &str, &str, &str)] = &[
    ("source", "orders", "validate", "in"),
    ("validate", "valid", "price", "in"),
    ("validate", "valid", "stock", "in"),
    ("validate", "valid", "risk", "in"),
    ("price", "out", "join", "price"),
    ("stock", "out", "join", "stock"),
    ("risk", "out", "join", "risk"),
    ("join", "out", "charge", "in"),
    ("charge", "paid", "ledger", "in"),
    ("charge", "given_up", "dead_letters", "in"),
];

impl Stage {
    /// All of them, by name.
    pub fn all(items: u64, failure_rate: f64) -> [(&'static str, Self); 9] {
        [
            ("source", Self::Source(items)),
            ("validate", Self::Validate),
            ("price", Self::Price),
            ("stock", Self::Stock),
            ("risk", Self::Risk),
            ("join", Self::Join),
            ("charge", Self::Charge(failure_rate)),
            ("ledger", Self::Ledger),
            ("dead_letters", Self::DeadLetters),
        ]
    }

    /// How long the work on an order takes, as if somebody else had to be asked.
    pub fn takes(self, seed: u64, order: &Order) -> Duration {
        let (least_us, spread_us) = match self {
            Self::Price => (300, 700.0),
            Self::Stock => (200, 400.0),
            Self::Risk => (500, 1_500.0),
            Self::Charge(_) => (800, 1_200.0),
            _ => (0, 0.0),
        };
        Duration::from_micros(least_us + (chance(seed, order.number, 1_000) * spread_us) as u64)
    }

    /// Works on an order that failed so often here. The error is one that may pass.
    ///
    /// # Errors
    /// When a charge does not go through.
    pub fn work(self, seed: u64, state: &mut State, order: Order, failures: u32) -> Result<Outputs, String> {
        let number = order.number;
        match self {
            Self::Source(items) => {
                let pieces = |number| 1 + (chance(seed, number, 0) * 9.0) as u64;
                let order = |number| Order { number, pieces: pieces(number), ..Order::default() };
                Ok((1..=items).map(|number| ("orders", order(number))).collect())
            }
            Self::Validate => {
                more(state, "validated", 1);
                Ok(vec![("valid", order)])
            }
            Self::Price => {
                let cents = order.pieces * (99 + (chance(seed, number, 1) * 4_900.0) as u64);
                Ok(vec![("out", Order { cents: Some(cents), ..order })])
            }
            Self::Stock => {
                more(state, "pieces_reserved", order.pieces);
                let shelf = 1 + (chance(seed, number, 2) * 40.0) as u64;
                Ok(vec![("out", Order { shelf: Some(shelf), ..order })])
            }
            Self::Risk => {
                let risk = (chance(seed, number, 3) * 100.0) as u64;
                Ok(vec![("out", Order { risk: Some(risk), ..order })])
            }
            Self::Join => Ok(join(state, order)),
            Self::Charge(failure_rate) => {
                if chance(seed, number, 100 + u64::from(failures)) < failure_rate {
                    more(state, "failures", 1);
                    return Err(format!("order {number}: the payment service does not answer"));
                }
                more(state, "charged", 1);
                if failures > 0 {
                    more(state, "recovered", 1);
                }
                Ok(vec![("paid", order)])
            }
            Self::Ledger => {
                more(state, "orders", 1);
                more(state, "cents", order.cents.unwrap_or_default());
                Ok(Vec::new())
            }
            Self::DeadLetters => {
                more(state, "orders", 1);
                Ok(Vec::new())
            }
        }
    }
}

/// Puts together what the three stages before found out; an order goes on with the last of them.
fn join(state: &mut State, order: Order) -> Outputs {
    let key = format!("waiting_{}", order.number);
    let before = state.remove(&key).and_then(|before| serde_json::from_value(before).ok());
    let order = before.map_or(order.clone(), |before| order.with(before));
    if order.cents.is_some() && order.shelf.is_some() && order.risk.is_some() {
        more(state, "joined", 1);
        return vec![("out", order)];
    }
    state.insert(key, json!(order));
    Vec::new()
}

fn more(state: &mut State, name: &str, by: u64) {
    let before = state.get(name).and_then(Value::as_u64).unwrap_or(0);
    state.insert(name.to_owned(), json!(before + by));
}

/// A number from 0 to 1 (without 1) that depends on its arguments alone: SplitMix64 (Steele, Lea, Flood 2014).
fn chance(seed: u64, number: u64, question: u64) -> f64 {
    let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ question.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for multiplier in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(multiplier);
    }
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_goes_on_when_all_three_answers_are_there_in_any_order() {
        for [first, second, third] in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut state = State::new();
            let order = Order { number: 5, pieces: 1, ..Order::default() };
            let answers = [
                Order { cents: Some(10), ..order.clone() },
                Order { shelf: Some(2), ..order.clone() },
                Order { risk: Some(3), ..order.clone() },
            ];
            for index in [first, second] {
                assert!(Stage::Join.work(1, &mut state, answers[index].clone(), 0).unwrap().is_empty());
                assert!(state.contains_key("waiting_5"));
            }
            let out = Stage::Join.work(1, &mut state, answers[third].clone(), 0).unwrap();
            assert_eq!(out, [("out", Order { cents: Some(10), shelf: Some(2), risk: Some(3), ..order })]);
            assert_eq!(state, State::from([("joined".to_owned(), json!(1))]));
        }
    }

    #[test]
    fn failures_are_as_frequent_as_told_and_the_same_for_a_seed() {
        let failures = |seed, rate| {
            let fails = |number| {
                let order = Order { number, ..Order::default() };
                Stage::Charge(rate).work(seed, &mut State::new(), order, 0).is_err()
            };
            (0..10_000).filter(|number| fails(*number)).collect::<Vec<u64>>()
        };
        assert_eq!(failures(1, 0.2), failures(1, 0.2));
        assert_ne!(failures(1, 0.2), failures(2, 0.2));
        assert!((1_800..2_200).contains(&failures(1, 0.2).len()));
        assert_eq!((failures(1, 0.0).len(), failures(1, 1.0).len()), (0, 10_000));
    }

    #[test]
    fn another_attempt_is_another_chance() {
        let order = Order { number: 3, ..Order::default() };
        let outcome = |failures| Stage::Charge(0.5).work(9, &mut State::new(), order.clone(), failures).is_ok();
        let outcomes: Vec<bool> = (0..64).map(outcome).collect();
        assert!(outcomes.contains(&true) && outcomes.contains(&false));
    }

    #[test]
    fn every_connection_joins_two_stages() {
        let stages = Stage::all(1, 0.0);
        let known = |name: &str| stages.iter().any(|(stage, _)| *stage == name);
        assert!(CONNECTIONS.iter().all(|(from, _, to, _)| known(from) && known(to)));
    }
}
