//! Numbers as people read them.

use std::fmt;

/// Bytes in the largest unit of 1,000 that leaves a digit before the point.
pub(crate) struct Bytes(pub f64);
/// A count in the same way.
pub(crate) struct Count(pub f64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}B", scaled(self.0, [" ", " k", " M", " G", " T", " P"]))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", scaled(self.0, ["", "k", "M", "G", "T", "P"]))
    }
}

fn scaled(value: f64, units: [&str; 6]) -> String {
    let mut value = value;
    for unit in units {
        if value < 999.5 || unit == units[5] {
            let digits = [2, 1, 0][usize::from(value >= 9.995) + usize::from(value >= 99.95)];
            let text = format!("{value:.digits$}");
            let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            return format!("{text}{unit}");
        }
        value /= 1e3;
    }
    unreachable!("the last unit takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_their_unit() {
        assert_eq!(Bytes(8.26e12).to_string(), "8.26 TB");
        assert_eq!(Bytes(512.0).to_string(), "512 B");
        assert_eq!(Count(1e6).to_string(), "1M");
        assert_eq!(Count(20_000.0).to_string(), "20k");
        assert_eq!(Count(999_900.0).to_string(), "1M");
    }
}
