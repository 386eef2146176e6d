//! Checks JSON that is kept as it is: that a v1 reader will be able to read it, without building it. What headers need of it, one number, is
//! picked out in passing.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::sampling::SAMPLE_RATE;

/// Deepest nesting accepted inside an attribute. Readers stop at 128 levels, and an answer nests an event deeper than its
/// request did.
pub const MAX_DEPTH: usize = 64;

/// Any JSON value, checked (numbers in range, escapes valid, not too deep) and thrown away, but for a number.
#[derive(Clone, Copy, Debug)]
struct Skim(usize);

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<f64>, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, number: i64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Option<f64>, E> {
        Ok(Some(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Option<f64>, E> {
        Ok(Some(number))
    }
    fn visit_str<E>(self, _: &str) -> Result<Option<f64>, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Option<f64>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<f64>, A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<f64>, A::Error> {
        let inner = self.deeper()?;
        while map.next_key_seed(inner)?.is_some() {
            map.next_value_seed(inner)?;
        }
        Ok(None)
    }
}

impl Skim {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.0 {
            MAX_DEPTH.. => Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels"))),
            depth => Ok(Self(depth + 1)),
        }
    }
}

/// Whether a key is that of the sample rate.
struct IsRate;

impl<'de> DeserializeSeed<'de> for IsRate {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for IsRate {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == SAMPLE_RATE)
    }
}

/// A JSON object of any values: `custom_attributes`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    /// The number under [`SAMPLE_RATE`], whatever it is; the last, as for whoever builds the object.
    pub(super) sample_rate: Option<f64>,
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Attributes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut attributes = Attributes::default();
                while let Some(is_rate) = map.next_key_seed(IsRate)? {
                    let number = map.next_value_seed(Skim(1))?;
                    if is_rate {
                        attributes.sample_rate = number;
                    }
                }
                Ok(attributes)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// An array of bytes as JSON has it (numbers 0 to 255), checked and thrown away.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteArray;

impl<'de> Deserialize<'de> for ByteArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = ByteArray;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of bytes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ByteArray, A::Error> {
                while seq.next_element::<u8>()?.is_some() {}
                Ok(ByteArray)
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}
