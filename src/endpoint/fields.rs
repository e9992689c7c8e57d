//! The fields of a response, from JSON or from a form.
//!
//! They are looked up one by one in the body itself. No tree is built, so deep nesting costs no memory.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A body whose syntax is known.
#[derive(Clone, Copy)]
pub(super) enum Fields<'a> {
    Json(&'a str),
    Form(&'a str),
}

/// Why a body has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A JSON object without its end.
    Truncated,
    /// Neither a JSON object nor a form.
    Other,
}

/// The value of a field.
pub(super) enum Value<'a> {
    /// Borrowed from the body, unless it has escapes.
    String(Cow<'a, str>),
    /// As written.
    Number(&'a str),
    Bool(bool),
    /// A JSON object, unparsed.
    Object(&'a str),
    /// A JSON array, unparsed.
    Array(&'a str),
    /// A string that can't be decoded.
    Other,
}

/// Calls a function for each field.
struct EachField<F> {
    visit: F,
}

/// Calls a function for each item of a list.
struct EachItem<F> {
    visit: F,
}

/// Reads a field's name into a reusable buffer.
struct FieldName<'b> {
    buffer: &'b mut String,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Recognises JSON and forms by their content, as content types are wrong too often.
    pub(super) fn try_new(body: &'a str) -> Result<Self, Malformed> {
        let text = body.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            for_each(text, |_, _| {})?;
            return Ok(Self::Json(text));
        }
        // A form begins with a name. A page or a message has spaces, brackets or no `=` at all.
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let name = text.split('=').next().filter(|name| name.len() < text.len() && !name.is_empty());
        if name.is_some_and(|name| name.bytes().all(is_name)) && !text.contains(['\n', '<', ' ']) {
            return Ok(Self::Form(text));
        }
        Err(Malformed::Other)
    }

    /// The value of a field; the last one if it is repeated. `null` counts as missing.
    ///
    /// A name with a leading slash is a JSON pointer (RFC 6901), which can index into lists.
    pub(super) fn get(self, name: &str) -> Option<Value<'a>> {
        let Some(path) = name.strip_prefix('/') else { return self.top_level(name) };
        let mut names = path.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
        let mut value = self.top_level(&names.next()?)?;
        for name in names {
            value = match value {
                Value::Object(text) => Fields::Json(text).top_level(&name)?,
                Value::Array(text) => item(text, &name)?,
                _ => return None,
            };
        }
        Some(value)
    }

    fn top_level(self, name: &str) -> Option<Value<'a>> {
        let mut found = None;
        match self {
            Self::Json(text) => {
                let _ = for_each(text, |field, raw| {
                    if field == name {
                        found = Some(raw);
                    }
                });
                found.and_then(|raw| Value::parse(raw.get()))
            }
            Self::Form(text) => {
                let pairs = form_urlencoded::parse(text.as_bytes());
                let last = pairs.filter(|(field, _)| field == name).last();
                last.map(|(_, value)| Value::String(value))
            }
        }
    }

    /// Calls `visit` with each string, number and boolean, in order.
    pub(super) fn scalars(self, mut visit: impl FnMut(&str, Cow<'_, str>)) {
        match self {
            Self::Json(text) => {
                let _ = for_each(text, |name, raw| match Value::parse(raw.get()) {
                    Some(Value::String(text)) => visit(name, text),
                    Some(Value::Number(text)) => visit(name, Cow::Borrowed(text)),
                    Some(Value::Bool(value)) => {
                        visit(name, Cow::Borrowed(if value { "true" } else { "false" }))
                    }
                    _ => {}
                });
            }
            Self::Form(text) => {
                form_urlencoded::parse(text.as_bytes()).for_each(|(name, value)| visit(&name, value));
            }
        }
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    fn parse(raw: &'a str) -> Option<Self> {
        Some(match raw.as_bytes().first()? {
            b'n' => return None,
            b't' => Self::Bool(true),
            b'f' => Self::Bool(false),
            b'{' => Self::Object(raw),
            b'[' => Self::Array(raw),
            b'"' => match serde_json::from_str(raw) {
                Ok(text) => Self::String(Cow::Borrowed(text)),
                Err(_) => {
                    serde_json::from_str(raw).map_or(Self::Other, |text| Self::String(Cow::Owned(text)))
                }
            },
            b'-' | b'0'..=b'9' => Self::Number(raw),
            _ => Self::Other,
        })
    }

    /// A string, or a number as written, unless it is blank.
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        let text = match self {
            Self::String(text) => text,
            Self::Number(text) => Cow::Borrowed(text),
            _ => return None,
        };
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    /// Calls `visit` with each string and number of a list, or with this one.
    pub(super) fn texts(self, mut visit: impl FnMut(&str)) {
        match self {
            Self::Array(array) => for_each_item(array, |raw| {
                if let Some(text) = Value::parse(raw.get()).and_then(Value::into_text) {
                    visit(&text);
                }
            }),
            value => {
                if let Some(text) = value.into_text() {
                    visit(&text);
                }
            }
        }
    }

    /// A number, even in a string (`"3599"`) and beyond the range of integers.
    pub(super) fn number(&self) -> Option<f64> {
        let text = match self {
            Self::String(text) => text.trim(),
            Self::Number(text) => text,
            _ => return None,
        };
        // Excludes words that Rust parses as numbers, such as `inf`.
        let is_numeric = |text: &str| text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        text.parse().ok().filter(|_| is_numeric(unsigned))
    }
}

/// An item of a list, by its index as RFC 6901 §4 writes it.
fn item<'a>(array: &'a str, index: &str) -> Option<Value<'a>> {
    let is_index = index == "0" || !index.starts_with(['0', '+']);
    let index: usize = index.parse().ok().filter(|_| is_index)?;
    let (mut at, mut found) = (0, None);
    for_each_item(array, |raw| {
        if at == index {
            found = Some(raw);
        }
        at += 1;
    });
    found.and_then(|raw| Value::parse(raw.get()))
}

/// Calls a function for each item of a list.
fn for_each_item<'a>(array: &'a str, visit: impl FnMut(&'a RawValue)) {
    // Its syntax was checked with the body's.
    let _ = serde_json::Deserializer::from_str(array).deserialize_seq(EachItem { visit });
}

fn for_each<'a>(text: &'a str, visit: impl FnMut(&str, &'a RawValue)) -> Result<(), Malformed> {
    // Trailing text is ignored: the tokens are valid, and the old refresh token may be used up.
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(EachField { visit }).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => Malformed::Truncated,
        _ if is_truncated_number(text, &error) => Malformed::Truncated,
        _ => Malformed::Other,
    })
}

/// serde reports a truncated number (`1.`) as a syntax error.
fn is_truncated_number(text: &str, error: &serde_json::Error) -> bool {
    let last = text.rsplit('\n').next().unwrap_or(text);
    let is_at_end = error.line() == text.split('\n').count() && error.column() >= last.len();
    is_at_end && last.ends_with(['-', '+', '.', 'e', 'E'])
}

// === impl EachField ===

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for EachField<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut name = String::new();
        while map.next_key_seed(FieldName { buffer: &mut name })?.is_some() {
            (self.visit)(&name, map.next_value()?);
        }
        Ok(())
    }
}

// === impl EachItem ===

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for EachItem<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.visit)(item);
        }
        Ok(())
    }
}

// === impl FieldName ===

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // As bytes: an unpaired surrogate in one name must not hide the other fields.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<(), E> {
        self.buffer.clear();
        self.buffer.push_str(&String::from_utf8_lossy(name));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
