//! The members of an answer, read from JSON or from a form.
//!
//! They are looked up one by one in the body itself: no tree is built, so that an answer costs no more memory for being
//! nested.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// An answer whose syntax is known.
#[derive(Clone, Copy)]
pub(super) enum Members<'a> {
    Json(&'a str),
    Form(&'a str),
}

/// Why a body has no members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It ends in the middle.
    Truncated,
    /// It is neither a JSON object nor a form.
    Other,
}

/// The value of one member.
pub(super) enum Value<'a> {
    Text(Zeroizing<String>),
    /// As it was written.
    Number(Cow<'a, str>),
    Bool(bool),
    /// The text of a JSON object.
    Object(&'a str),
    /// The text of a JSON array.
    Array(&'a str),
    /// A text that can't be decoded.
    Other,
}

/// Hands each member of an object to a function.
struct Each<F> {
    take: F,
}

/// Reads a member's name into a buffer that is used again.
struct Name<'b> {
    buffer: &'b mut String,
}

// === impl Members ===

impl<'a> Members<'a> {
    /// Tells JSON from a form by the text itself, as content types are wrong too often.
    pub(super) fn try_new(body: &'a str) -> Result<Self, Malformed> {
        let text = body.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            for_each(text, |_, _| {})?;
            return Ok(Self::Json(text));
        }
        // A form's first name; a page or a message has blanks, brackets or no `=` at all.
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let name = text.split('=').next().filter(|name| name.len() < text.len() && !name.is_empty());
        if name.is_some_and(|name| name.bytes().all(is_name)) && !text.contains(['\n', '<', ' ']) {
            return Ok(Self::Form(text));
        }
        Err(Malformed::Other)
    }

    /// The value of a member, the last one of its name. `null` is none.
    ///
    /// A name that begins with a slash is a way through nested objects, as in a JSON pointer (RFC 6901).
    pub(super) fn get(self, name: &str) -> Option<Value<'a>> {
        let Some(way) = name.strip_prefix('/') else { return self.own(name) };
        let mut steps = way.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let mut value = self.own(&steps.next()?);
        for step in steps {
            let Some(Value::Object(text)) = value else { return None };
            value = Members::Json(text).own(&step);
        }
        value
    }

    fn own(self, name: &str) -> Option<Value<'a>> {
        let mut found = None;
        match self {
            Self::Json(text) => {
                let _ = for_each(text, |member, raw| {
                    if member == name {
                        found = Some(raw);
                    }
                });
                found.and_then(|raw| Value::of(raw.get()))
            }
            Self::Form(text) => {
                let pairs = form_urlencoded::parse(text.as_bytes());
                let last = pairs.filter(|(member, _)| member == name).last();
                last.map(|(_, value)| Value::Text(Zeroizing::new(value.into_owned())))
            }
        }
    }

    /// The members that hold a text, a number or a truth value, in their order.
    pub(super) fn scalars(self, mut take: impl FnMut(&str, Cow<'_, str>)) {
        match self {
            Self::Json(text) => {
                let _ = for_each(text, |name, raw| match Value::of(raw.get()) {
                    Some(Value::Text(text)) => take(name, Cow::Borrowed(text.as_str())),
                    Some(Value::Number(text)) => take(name, text),
                    Some(Value::Bool(truth)) => {
                        take(name, Cow::Borrowed(if truth { "true" } else { "false" }))
                    }
                    _ => {}
                });
            }
            Self::Form(text) => {
                form_urlencoded::parse(text.as_bytes()).for_each(|(name, value)| take(&name, value));
            }
        }
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    fn of(raw: &'a str) -> Option<Self> {
        Some(match raw.as_bytes().first()? {
            b'n' => return None,
            b't' => Self::Bool(true),
            b'f' => Self::Bool(false),
            b'{' => Self::Object(raw),
            b'[' => Self::Array(raw),
            b'"' => unescaped(raw).map_or(Self::Other, Self::Text),
            b'-' | b'0'..=b'9' => Self::Number(Cow::Borrowed(raw)),
            _ => Self::Other,
        })
    }

    /// A text, or a number as it was written. Nothing that is empty.
    pub(super) fn into_text(self) -> Option<Zeroizing<String>> {
        let text = match self {
            Self::Text(text) => text,
            Self::Number(text) => Zeroizing::new(text.into_owned()),
            _ => return None,
        };
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    /// A number, also one in a text (`"3599"`), also one that no integer can hold.
    pub(super) fn number(&self) -> Option<f64> {
        let text = match self {
            Self::Text(text) => text.trim(),
            Self::Number(text) => text,
            _ => return None,
        };
        // Not the words that Rust takes for numbers, such as `inf`.
        let begins = |text: &str| text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        text.parse().ok().filter(|_| begins(unsigned))
    }
}

/// The text that a JSON string stands for (RFC 8259 §7); None where it is half a pair. A parser's own buffer for it would
/// be left unwiped.
fn unescaped(raw: &str) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(raw.len()));
    let mut rest = raw.strip_prefix('"')?.strip_suffix('"')?;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = &rest[at + 2..];
        text.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = unit(&mut rest)?;
                let second = match first {
                    0xd800..0xdc00 => {
                        rest = rest.strip_prefix("\\u")?;
                        Some(unit(&mut rest)?)
                    }
                    _ => None,
                };
                char::decode_utf16([first].into_iter().chain(second)).next()?.ok()?
            }
            other => char::from(other),
        });
    }
    text.push_str(rest);
    Some(text)
}

/// The four digits of an escape.
fn unit(rest: &mut &str) -> Option<u16> {
    let (digits, after) = rest.split_at_checked(4)?;
    *rest = after;
    u16::from_str_radix(digits, 16).ok()
}

fn for_each<'a>(text: &'a str, take: impl FnMut(&str, &'a RawValue)) -> Result<(), Malformed> {
    // What follows the object is let be: its tokens are good, and the old ones may be spent.
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Each { take }).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => Malformed::Truncated,
        _ if is_cut_number(text, &error) => Malformed::Truncated,
        _ => Malformed::Other,
    })
}

/// A number that ends in the middle (`1.`) counts as wrong, and not as cut.
fn is_cut_number(text: &str, error: &serde_json::Error) -> bool {
    let last = text.rsplit('\n').next().unwrap_or(text);
    let is_at_end = error.line() == text.split('\n').count() && error.column() >= last.len();
    is_at_end && last.ends_with(['-', '+', '.', 'e', 'E'])
}

// === impl Each ===

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut name = String::new();
        while map.next_key_seed(Name { buffer: &mut name })?.is_some() {
            (self.take)(&name, map.next_value()?);
        }
        Ok(())
    }
}

// === impl Name ===

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // As bytes: half of a surrogate pair in a name that nobody asks for must not hide the others.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<(), E> {
        self.buffer.clear();
        self.buffer.push_str(&String::from_utf8_lossy(name));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
