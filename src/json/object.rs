//! The JSON object that is sent (RFC 8259).

use bytes::Bytes;
use serde::ser::{SerializeMap, Serializer as _};
use zeroize::Zeroizing;

/// Writes an object of texts, in their order. It is wiped when it was sent.
pub(super) fn write<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let members: Vec<_> = members.collect();
    // Sized at once: a buffer that grows leaves unwiped copies behind.
    let length = |(name, value): &(&str, &str)| ESCAPED * (name.len() + value.len()) + r#""":"",""#.len();
    let most = members.iter().map(length).sum::<usize>() + "{}".len();
    let mut buffer = Zeroizing::new(Vec::with_capacity(most));
    let mut serializer = serde_json::Serializer::new(&mut *buffer);
    let written = serializer.serialize_map(None).and_then(|mut map| {
        members.into_iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    });
    written.expect("texts can be written, and memory takes them");
    Bytes::from_owner(buffer)
}

/// A byte becomes six at most: `\u001f`.
const ESCAPED: usize = 6;
