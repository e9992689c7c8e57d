//! The JSON object that is sent (RFC 8259).

use bytes::Bytes;
use serde::ser::{SerializeMap, Serializer as _};
use zeroize::Zeroizing;

/// Writes an object of texts, in their order. It is wiped when it was sent.
pub(super) fn write<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    // What it needs in most cases: a buffer that grows leaves unwiped copies behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(8 * 1024));
    let mut serializer = serde_json::Serializer::new(&mut *buffer);
    let written = serializer.serialize_map(None).and_then(|mut map| {
        members.into_iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    });
    written.expect("texts can be written, and memory takes them");
    Bytes::from_owner(buffer)
}
