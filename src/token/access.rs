//! [`AccessToken`].

use std::{fmt, sync::Arc, time::SystemTime};

use http::HeaderValue;

use super::secret::{credential, scheme, text_after};

/// A valid access token, as a request carries it.
///
/// Cheap to clone. [`Session::token_after_rejection`](crate::Session::token_after_rejection) takes it back when a server refused it.
#[derive(Clone)]
pub struct AccessToken {
    issued: Arc<Issued>,
}

struct Issued {
    header: HeaderValue,
    scheme_len: usize,
    stamp: Stamp,
    expires_at: Option<SystemTime>,
}

/// Which token it was, and how much had happened when it was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sign_in: u64,
    pub(crate) generation: u64,
    pub(crate) flights_ended: u64,
}

// === impl AccessToken ===

impl AccessToken {
    /// The header's value, scheme included, marked sensitive. Cloning it copies no bytes.
    pub fn header_value(&self) -> &HeaderValue {
        &self.issued.header
    }

    /// The access token's text, without the scheme: for a client whose API adds the scheme itself.
    pub fn secret(&self) -> &str {
        text_after(&self.issued.header, self.issued.scheme_len)
    }

    /// Which token of its session this is. It goes up by one with each new token.
    pub fn generation(&self) -> u64 {
        self.issued.stamp.generation
    }

    /// Expiry the session stops using it: the told end less a margin. `None`: unknown.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.issued.expires_at
    }

    pub(super) fn issue(
        header: HeaderValue,
        scheme_len: usize,
        stamp: Stamp,
        expires_at: Option<SystemTime>,
    ) -> Self {
        Self { issued: Arc::new(Issued { header, scheme_len, stamp, expires_at }) }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.issued.stamp
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// A copy of the value over a buffer of its own, wiped like the first.
pub(crate) fn private_copy(token: &AccessToken) -> AccessToken {
    let Issued { header, scheme_len, stamp, expires_at } = &*token.issued;
    let header = credential(scheme(header, *scheme_len), text_after(header, *scheme_len));
    AccessToken {
        issued: Arc::new(Issued { header, scheme_len: *scheme_len, stamp: *stamp, expires_at: *expires_at }),
    }
}
