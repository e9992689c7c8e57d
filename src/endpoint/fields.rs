//! The fields of a response, from JSON or from a form.
//!
//! They are looked up one by one in the body itself. No tree is built, so deep nesting costs no memory.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A body whose syntax is known.
#[derive(Clone, Copy)]
pub(super) enum Fields<'a> {
    /// An object, or a list, into which only paths lead.
    Json(&'a str),
    Form(&'a str),
}

/// Why a body has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A JSON object or list without its end.
    Truncated,
    /// Neither JSON nor a form.
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
        if text.starts_with(['{', '[']) {
            let parsed =
                if text.starts_with('{') { for_each(text, |_, _| {}) } else { for_each_item(text, |_| {}) };
            return parsed.map(|()| Self::Json(text)).map_err(|error| Malformed::of(text, &error));
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
        let mut value = match self {
            Self::Json(text) => Value::parse(text)?,
            Self::Form(_) => self.top_level(&names.next()?)?,
        };
        for name in names {
            value = match value {
                Value::Object(text) => member(text, &name)?,
                Value::Array(text) => item(text, &name)?,
                _ => return None,
            };
        }
        Some(value)
    }

    fn top_level(self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(text) => member(text, name),
            Self::Form(text) => {
                let last = form_pairs(text).filter(|(field, _)| decoded(field) == name).last();
                last.map(|(_, value)| Value::String(decoded(value)))
            }
        }
    }

    /// Calls `visit` with each string, number and boolean of a wanted name, in order.
    pub(super) fn scalars(self, is_wanted: impl Fn(&str) -> bool, mut visit: impl FnMut(&str, Cow<'_, str>)) {
        match self {
            Self::Json(text) => {
                let value = |name: &str, raw: &'a RawValue| {
                    // Not even decoded otherwise, as it may be large.
                    is_wanted(name).then(|| Value::parse(raw.get())).flatten()
                };
                let _ = for_each(text, |name, raw| match value(name, raw) {
                    Some(Value::String(text)) => visit(name, text),
                    Some(Value::Number(text)) => visit(name, Cow::Borrowed(text)),
                    Some(Value::Bool(true)) => visit(name, Cow::Borrowed("true")),
                    Some(Value::Bool(false)) => visit(name, Cow::Borrowed("false")),
                    _ => {}
                });
            }
            Self::Form(text) => {
                let wanted = form_pairs(text).filter(|(name, _)| is_wanted(&decoded(name)));
                wanted.for_each(|(name, value)| visit(&decoded(name), decoded(value)));
            }
        }
    }
}

// === impl Malformed ===

impl Malformed {
    fn of(text: &str, error: &serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Eof => Self::Truncated,
            _ if is_truncated_number(text, error) => Self::Truncated,
            _ => Self::Other,
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
            b'"' => unescaped(raw.get(1..raw.len() - 1)?).map_or(Self::Other, Self::String),
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
            Self::Array(array) => {
                let _ = for_each_item(array, |raw| {
                    if let Some(text) = Value::parse(raw.get()).and_then(Value::into_text) {
                        visit(&text);
                    }
                });
            }
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

/// The last member of this name. `None` for a list.
fn member<'a>(object: &'a str, name: &str) -> Option<Value<'a>> {
    let mut found = None;
    let _ = for_each(object, |member, raw| {
        if member == name {
            found = Some(raw);
        }
    });
    found.and_then(|raw| Value::parse(raw.get()))
}

/// An item of a list, by its index as RFC 6901 §4 writes it.
fn item<'a>(array: &'a str, index: &str) -> Option<Value<'a>> {
    let is_index = index == "0" || !index.starts_with(['0', '+']);
    let index: usize = index.parse().ok().filter(|_| is_index)?;
    let (mut at, mut found) = (0, None);
    let _ = for_each_item(array, |raw| {
        if at == index {
            found = Some(raw);
        }
        at += 1;
    });
    found.and_then(|raw| Value::parse(raw.get()))
}

/// Calls a function for each item of a list.
fn for_each_item<'a>(array: &'a str, visit: impl FnMut(&'a RawValue)) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(array).deserialize_seq(EachItem { visit })
}

/// Calls a function for each member of an object.
///
/// Trailing text is ignored: the tokens are valid, and the old refresh token may be used up.
fn for_each<'a>(object: &'a str, visit: impl FnMut(&str, &'a RawValue)) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(object).deserialize_map(EachField { visit })
}

/// serde reports a truncated number (`1.`) as a syntax error.
fn is_truncated_number(text: &str, error: &serde_json::Error) -> bool {
    let last = text.rsplit('\n').next().unwrap_or(text);
    let is_at_end = error.line() == text.split('\n').count() && error.column() >= last.len();
    is_at_end && last.ends_with(['-', '+', '.', 'e', 'E'])
}

/// The text of a JSON string whose syntax was checked. `None`: it has an unpaired surrogate.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    // Sized in advance: a buffer that grows takes thrice the memory, and leaves copies behind.
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        unescaped.push_str(before);
        let kind = escape.chars().next()?;
        rest = &escape[kind.len_utf8()..];
        unescaped.push(match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (decoded, after) = unicode(rest)?;
                rest = after;
                decoded
            }
            // A quote, a slash or a backslash.
            same => same,
        });
    }
    unescaped.push_str(rest);
    Some(Cow::Owned(unescaped))
}

/// The character after `\u`, which may need another such escape, and what follows it.
fn unicode(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let (first, rest) = (unit(text)?, &text[4..]);
    if let Some(decoded) = char::from_u32(first.into()) {
        return Some((decoded, rest));
    }
    let low = rest.strip_prefix("\\u")?;
    let decoded = char::decode_utf16([first, unit(low)?]).next()?.ok()?;
    Some((decoded, &low[4..]))
}

/// The names and values of a form, in order, as written.
fn form_pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The text of a form's name or value.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(percent_decoded(text, |b| if b == b'+' { b' ' } else { b }))
}

/// Decodes percent escapes, and maps the other bytes.
pub(super) fn percent_decoded(text: &str, other: impl Fn(u8) -> u8) -> String {
    // Sized in advance, as above.
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let digits = digit(0).zip(digit(1)).filter(|_| first == b'%');
        let byte = digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.unwrap_or_else(|| other(first)));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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
