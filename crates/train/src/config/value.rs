//! Reads a merged TOML table into the configuration's types, remembering where a fault lies and which
//! names would have been right. The names come from serde itself, so that they exist once.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};
use std::fmt::{self, Display};
use toml::{Table, Value};

/// What is wrong at one place of a table.
#[derive(Debug)]
pub(super) struct Fault {
    /// keys from the innermost to the outermost
    reversed: Vec<String>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    UnknownKey { name: String, known: &'static [&'static str] },
    UnknownVariant { name: String, known: &'static [&'static str] },
    Missing(&'static str),
    Other(String),
}

impl Fault {
    /// The table or value that the fault is about, outermost key first.
    pub(super) fn path(&self) -> Vec<String> {
        self.reversed.iter().rev().cloned().collect()
    }

    fn new(what: What) -> Self {
        Self { reversed: Vec::new(), what }
    }

    fn inside(mut self, key: impl Into<String>) -> Self {
        self.reversed.push(key.into());
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path().join("."), self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(What::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        let (expected, spoken) = (expected.to_string(), spoken(found));
        let is_whole = ["u64", "usize"].contains(&&*expected);
        match found {
            Unexpected::Float(value) if is_whole && value >= 0.0 && value.fract() == 0.0 => Self::custom(
                format!("write it as a whole number, without a point or an exponent: {value:.0}"),
            ),
            Unexpected::Str(digits) if is_whole && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Self::custom(format!("{digits} is more than {}, the largest number of TOML", i64::MAX))
            }
            _ => Self::custom(format!("{spoken} is not {}", wanted(&expected))),
        }
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { name: name.into(), known })
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownVariant { name: name.into(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(What::Missing(name))
    }
}

/// A value in words of TOML.
fn spoken(found: Unexpected) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => format!("\"{value}\""),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        other => other.to_string(),
    }
}

/// A Rust type in words of TOML.
fn wanted(expected: &str) -> &str {
    match expected {
        "u64" | "usize" => "a whole number ≥ 0",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "path string" => "a path in quotes",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    }
}

/// Reads `table` as a `T`.
pub(super) fn read<T: DeserializeOwned>(table: Table) -> Result<T, Fault> {
    T::deserialize(At(Value::Table(table)))
}

/// The keys of the table that `T` is read from.
pub(super) fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    let unheard_of = Table::from_iter([(String::new(), Value::Boolean(true))]);
    match read::<T>(unheard_of).err().map(|fault| fault.what) {
        Some(What::UnknownKey { known, .. }) => known,
        _ => &[],
    }
}

struct At(Value);

impl<'de> Deserializer<'de> for At {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Table(table) => visitor.visit_map(Entries { entries: table.into_iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let text = match self.0 {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let text: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Entries {
    entries: toml::map::IntoIter<String, Value>,
    current: Option<(String, Value)>,
}

impl<'de> de::MapAccess<'de> for Entries {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some((key, _)) = &self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, value) = self.current.take().expect("serde asks for a value after its key");
        seed.deserialize(At(value)).map_err(|fault| fault.inside(key))
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        let element = seed.deserialize(At(item)).map_err(|fault| fault.inside(index.to_string()));
        element.map(Some)
    }
}
