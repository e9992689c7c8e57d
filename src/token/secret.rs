//! Strings and header values whose memory is zeroed when the last reference is dropped.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

/// A string that is zeroed when its last clone is dropped.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Inner>);

struct Inner {
    string: Zeroizing<String>,
    /// A refresh token's, wherever it is carried over to.
    expires_at: Option<SystemTime>,
}

struct ZeroizingBuffer(Vec<u8>);

// === impl Secret ===

impl Secret {
    pub(crate) fn new(string: String) -> Self {
        Self(Arc::new(Inner { string: Zeroizing::new(string), expires_at: None }))
    }

    /// A refresh token; an empty or blank one counts as none.
    pub(crate) fn refresh_token(string: String) -> Option<Self> {
        (!string.trim().is_empty()).then(|| Self::new(string))
    }

    /// Without surrounding whitespace: one that was read from a file ends with a newline.
    #[cfg(feature = "__endpoint")]
    pub(crate) fn trimmed(string: String) -> Self {
        let string = Zeroizing::new(string);
        Self::new(string.trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0.string
    }

    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// Sets the expiry, if there is one.
    pub(crate) fn with_expiry(self, expires_at: Option<SystemTime>) -> Self {
        match expires_at {
            None => self,
            Some(_) => Self(Arc::new(Inner { string: self.0.string.clone(), expires_at })),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.string == other.0.string
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

// === impl ZeroizingBuffer ===

impl AsRef<[u8]> for ZeroizingBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for ZeroizingBuffer {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        #[cfg(test)]
        super::tests::report_zeroed(&self.0);
    }
}

pub(super) fn header_value(scheme: &str, token: &str) -> HeaderValue {
    // Sized in advance: a buffer that grows leaves copies behind that aren't zeroed.
    let mut buffer = Vec::with_capacity(scheme.len() + 1 + token.len());
    if !scheme.is_empty() {
        buffer.extend_from_slice(scheme.as_bytes());
        buffer.push(b' ');
    }
    buffer.extend_from_slice(token.as_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(ZeroizingBuffer(buffer)))
        .expect("scheme and token were checked to be visible ASCII");
    header.set_sensitive(true);
    header
}

pub(super) fn scheme(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |value| &value[..scheme_len])
}

/// A scheme as `Debug` shows it: registered ones are short.
pub(super) fn shown_scheme(scheme: &str) -> &str {
    if scheme.len() <= 20 { scheme } else { "[long]" }
}

pub(super) fn after_scheme(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |value| &value[scheme_len + 1..])
}
