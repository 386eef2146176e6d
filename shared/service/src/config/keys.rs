//! How a key is declared, once, with everything that is to be known about it.
//!
//! The `section!` macro takes the keys of a section and makes of them the struct, its defaults, the reader that collects
//! mistakes instead of stopping at the first, the values for `--print-config` and the rows of the reference. So none of
//! these can forget a key. serde is not used for reading: it stops at the first mistake and may quote a secret.

use figment::value::Value;

use super::{problem::quote, reader::Reader, secret::Secret};

/// All that is known of one key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The dotted key, as in the file: `server.port`.
    pub path: &'static str,
    /// What values it takes.
    pub accepts: String,
    /// The default as TOML, or nothing where it is unset.
    pub default: Option<String>,
    /// What it does, with its unit.
    pub effect: String,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// Whether it may hold a password.
    pub secret: bool,
    /// The least and the greatest number it takes.
    pub range: Option<(i128, i128)>,
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// Whether the value may never be quoted.
    const SECRET: bool = false;
    /// What values it takes, for people: `a whole number`.
    fn accepts() -> String;
    /// Reads a value. `text` says that it comes from where everything is text (environment, flags), so that `"1"` is a
    /// number as well; in a file a type is a type. `None`: not of this type.
    fn read(value: &Value, text: bool) -> Option<Self>;
    /// The value for `--print-config`, masked where it must be; nothing where it is unset.
    fn show(&self) -> Option<toml::Value>;
    /// The number that was written, for range checks: before it is squeezed into the type.
    fn number(_: &Value, _text: bool) -> Option<i128> {
        None
    }
}

/// A group of keys under one prefix.
pub(crate) trait Section: Sized + Default {
    /// Describes every key, in order.
    fn keys(out: &mut Vec<Key>);
    /// Reads every key; mistakes go to the reader.
    fn read(reader: &mut Reader<'_>) -> Self;
    /// Every key with its value, in the order of [`Section::keys`].
    fn values(&self, out: &mut Vec<(&'static str, Option<toml::Value>)>);
}

/// How a bad value may be quoted.
pub(crate) fn quoted(value: &Value) -> String {
    match value {
        Value::String(_, text) => quote(text),
        Value::Char(_, c) => quote(&c.to_string()),
        Value::Bool(_, b) => format!("`{b}`"),
        Value::Num(_, n) => match (n.to_i128(), n.to_u128(), n.to_f64()) {
            (Some(n), ..) => format!("`{n}`"),
            (_, Some(n), _) => format!("`{n}`"),
            (.., Some(n)) => format!("`{n}`"),
            _ => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a section".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

fn whole(value: &Value, text: bool) -> Option<i128> {
    match value {
        Value::Num(_, n) => n.to_i128().or_else(|| n.to_u128().and_then(|n| i128::try_from(n).ok())),
        // `_` between digits, as TOML has it.
        Value::String(_, s) if text => s.trim().replace('_', "").parse().ok(),
        _ => None,
    }
}

macro_rules! whole_settings {
    ($($ty:ty),*) => {$(
        impl Setting for $ty {
            fn accepts() -> String {
                "a whole number".to_owned()
            }
            fn read(value: &Value, text: bool) -> Option<Self> {
                // Too large for the type is too large for its range, which is the better message; see `number`.
                let number = whole(value, text)?;
                Some(<$ty>::try_from(number).unwrap_or(if number < 0 { <$ty>::MIN } else { <$ty>::MAX }))
            }
            fn show(&self) -> Option<toml::Value> {
                Some(toml::Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX)))
            }
            fn number(value: &Value, text: bool) -> Option<i128> {
                whole(value, text)
            }
        }
    )*};
}
whole_settings!(u8, u16, u32, u64, usize, i32, i64);

impl Setting for bool {
    fn accepts() -> String {
        "`true` or `false`".to_owned()
    }
    fn read(value: &Value, text: bool) -> Option<Self> {
        match value {
            Value::Bool(_, b) => Some(*b),
            Value::String(_, s) if text => match s.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::Boolean(*self))
    }
}

impl Setting for String {
    fn accepts() -> String {
        "text".to_owned()
    }
    fn read(value: &Value, _: bool) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.clone()))
    }
}

impl Setting for std::path::PathBuf {
    fn accepts() -> String {
        "a path".to_owned()
    }
    fn read(value: &Value, _: bool) -> Option<Self> {
        value.as_str().filter(|s| !s.is_empty()).map(Into::into)
    }
    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.to_string_lossy().into_owned()))
    }
}

impl Setting for Secret {
    const SECRET: bool = true;
    fn accepts() -> String {
        "a URL".to_owned()
    }
    fn read(value: &Value, _: bool) -> Option<Self> {
        value.as_str().map(Secret::new)
    }
    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.to_string()))
    }
}

/// Unset by default. An empty text is unset as well: that is what `${VARIABLE:-}` in a compose file gives.
impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;
    fn accepts() -> String {
        format!("{}, or unset", T::accepts())
    }
    fn read(value: &Value, text: bool) -> Option<Self> {
        match value {
            Value::String(_, s) if s.is_empty() => Some(None),
            value => T::read(value, text).map(Some),
        }
    }
    fn show(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::show)
    }
    fn number(value: &Value, text: bool) -> Option<i128> {
        T::number(value, text)
    }
}

/// Declares a setting with a few words to choose from.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ pub enum $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $vdoc])+ $variant),+ }

        impl $name {
            /// The word that stands in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::keys::Setting for $name {
            fn accepts() -> String {
                [$(concat!("`", $word, "`")),+].join(", ")
            }
            fn read(value: &figment::value::Value, _: bool) -> Option<Self> {
                // Case does not matter: published files have `"WAL"` and `"NORMAL"`.
                let word = value.as_str()?;
                $(if word.eq_ignore_ascii_case($word) { return Some(Self::$variant); })+
                None
            }
            fn show(&self) -> Option<toml::Value> {
                Some(toml::Value::String(self.as_str().to_owned()))
            }
        }
    };
}

/// Declares a section: see the module's documentation. A key is
/// `/// effect` `name: Type = default, in least..=greatest; because "reason for the default"`.
macro_rules! section {
    (
        $(#[doc = $sdoc:literal])+
        pub struct $name:ident at $prefix:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $ty:ty = $default:expr $(, in $least:literal ..= $greatest:expr)?;
                because $reason:literal
            )*
            $(sections { $($(#[doc = $subdoc:literal])+ $sub:ident : $subty:ty),+ $(,)? })?
        }
    ) => {
        $(#[doc = $sdoc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nThe default is so because ", $reason, ".")]
                pub $field: $ty,
            )*
            $($($(#[doc = $subdoc])+ pub $sub: $subty,)+)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* $($($sub: Default::default(),)+)? }
            }
        }

        impl $crate::config::keys::Section for $name {
            fn keys(out: &mut Vec<$crate::config::keys::Key>) {
                #[allow(unused_mut, unused_assignments, clippy::allow_attributes, reason = "not every key has a range")]
                {$({
                    let default: $ty = $default;
                    let mut range = None;
                    $(range = Some(($least as i128, $greatest as i128));)?
                    out.push($crate::config::keys::Key {
                        path: concat!($prefix, stringify!($field)),
                        accepts: <$ty as $crate::config::keys::Setting>::accepts(),
                        default: $crate::config::keys::Setting::show(&default).map(|value| value.to_string()),
                        effect: [$($doc.trim()),+].join(" "),
                        reason: $reason,
                        secret: <$ty as $crate::config::keys::Setting>::SECRET,
                        range,
                    });
                })*}
                $($(<$subty as $crate::config::keys::Section>::keys(out);)+)?
            }

            fn read(reader: &mut $crate::config::reader::Reader<'_>) -> Self {
                Self {
                    $($field: reader.get(concat!($prefix, stringify!($field)), $default),)*
                    $($($sub: <$subty as $crate::config::keys::Section>::read(reader),)+)?
                }
            }

            fn values(&self, out: &mut Vec<(&'static str, Option<toml::Value>)>) {
                $(out.push((
                    concat!($prefix, stringify!($field)),
                    $crate::config::keys::Setting::show(&self.$field),
                ));)*
                $($($crate::config::keys::Section::values(&self.$sub, out);)+)?
            }
        }
    };
}

pub(crate) use {choice, section};
