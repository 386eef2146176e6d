//! The elements of a JSON array, one after the other, none of them kept: an array of a million numbers takes no more room than its text.

use std::fmt;
use std::ops::ControlFlow;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Gives each element of `array`, not parsed, to `each`, until that has enough.
///
/// # Errors
///
/// When this is no JSON array, as far as it was read. Elements before the place have been given.
pub fn for_each_element<'a>(
    array: &'a str,
    each: impl FnMut(&'a RawValue) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, serde_json::Error> {
    let mut enough = false;
    let mut deserializer = serde_json::Deserializer::from_str(array);
    let read =
        (&mut deserializer).deserialize_seq(Elements { each, enough: &mut enough }).and_then(|()| deserializer.end());
    match read {
        _ if enough => Ok(ControlFlow::Break(())),
        read => read.map(ControlFlow::Continue),
    }
}

struct Elements<'e, F> {
    each: F,
    enough: &'e mut bool,
}

impl<'a, F: FnMut(&'a RawValue) -> ControlFlow<()>> Visitor<'a> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            if (self.each)(element).is_break() {
                *self.enough = true;
                // An error is the one way to read no further.
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(array: &str, most: usize) -> (Vec<&str>, Option<ControlFlow<()>>) {
        let mut elements = Vec::new();
        let read = for_each_element(array, |element| {
            elements.push(element.get());
            if elements.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (elements, read.ok())
    }

    #[test]
    fn an_array_is_read_to_its_end_or_until_it_is_enough() {
        let all = Some(ControlFlow::Continue(()));
        for (array, expected, read) in [
            ("[]", &[][..], all),
            (" [1, {\"a\": [2]},\"x\" ] ", &["1", "{\"a\": [2]}", "\"x\""], all),
            ("[1,2,3,4,", &["1", "2", "3"], Some(ControlFlow::Break(()))),
            ("[1,", &["1"], None),
            ("[1]]", &["1"], None),
            ("{}", &[], None),
            ("", &[], None),
        ] {
            let most = if read == all { 9 } else { 3 };
            assert_eq!(elements(array, most), (expected.to_vec(), read), "{array}");
        }
    }
}
