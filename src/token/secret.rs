//! Strings and header values that are wiped on their last drop.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

/// A text that is wiped when its last clone goes.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

struct WipedBuffer(Vec<u8>);

// === impl Secret ===

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

// === impl WipedBuffer ===

impl AsRef<[u8]> for WipedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        #[cfg(test)]
        super::tests::report_wiped(&self.0);
    }
}

pub(super) fn credential(scheme: &str, token: &str) -> HeaderValue {
    // Sized at once: a buffer that grows leaves unwiped copies behind.
    let mut buffer = Vec::with_capacity(scheme.len() + 1 + token.len());
    buffer.extend_from_slice(scheme.as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(token.as_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(WipedBuffer(buffer)))
        .expect("scheme and token were checked to be visible ASCII");
    header.set_sensitive(true);
    header
}

pub(super) fn scheme(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |text| &text[..scheme_len])
}

pub(super) fn text_after(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |text| &text[scheme_len + 1..])
}
