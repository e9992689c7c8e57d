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

struct ZeroizingBuffer(Box<[u8]>);

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
        self.0.zeroize();
        #[cfg(test)]
        super::tests::report_zeroed(&self.0);
    }
}

pub(super) fn header_value(scheme: &str, token: &str) -> HeaderValue {
    // Both allocate once: a buffer that grows or shrinks leaves copies behind that aren't zeroed.
    let text = if scheme.is_empty() { token.to_owned() } else { [scheme, " ", token].concat() };
    let buffer = ZeroizingBuffer(text.into_boxed_str().into_boxed_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(buffer))
        .expect("scheme and token were checked to be visible ASCII");
    header.set_sensitive(true);
    header
}

/// A scheme contains no space.
pub(super) fn scheme(header: &HeaderValue) -> &str {
    parts(header).0
}

pub(super) fn after_scheme(header: &HeaderValue) -> &str {
    parts(header).1
}

fn parts(header: &HeaderValue) -> (&str, &str) {
    header.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default()
}

/// A scheme as `Debug` shows it: registered ones are short.
pub(super) fn shown_scheme(scheme: &str) -> &str {
    if scheme.len() <= 20 { scheme } else { "[long]" }
}
