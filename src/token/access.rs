//! [`AccessToken`].

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use super::headers::CustomHeaders;
use super::secret::{after_scheme, header_value};

/// An access token, ready to be sent.
///
/// Cheap to clone. Two are equal if they are the same token of the same generation. When a server rejects it,
/// pass it to [`Session::token_after_rejection`](crate::Session::token_after_rejection).
#[derive(Clone)]
pub struct AccessToken {
    inner: Arc<AccessTokenInner>,
}

struct AccessTokenInner {
    header: HeaderValue,
    /// `None`: it is sent in `Authorization`.
    headers: Option<CustomHeaders>,
    id: TokenId,
    expires_at: Option<SystemTime>,
}

/// Which sign-in, and which token of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// Unique in the process, so that another session's token is never mistaken for one of this session.
    pub(crate) sign_in: NonZeroU64,
    /// Counts on across sign-ins.
    pub(crate) generation: u64,
}

/// Which token it is, and how many flights had ended when it was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenId {
    pub(crate) epoch: Epoch,
    pub(crate) flights_ended: u64,
}

// === impl AccessToken ===

impl AccessToken {
    /// The header value, including the scheme, marked as sensitive. Cheap to clone.
    pub fn header_value(&self) -> &HeaderValue {
        &self.inner.header
    }

    /// The headers that carry it: `Authorization`, or those of [`SessionBuilder::header`](crate::SessionBuilder::header).
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let standard = self.inner.headers.is_none().then_some((&AUTHORIZATION, &self.inner.header));
        let custom = self.custom_headers().into_iter().flatten().map(|(name, value)| (name, value));
        standard.into_iter().chain(custom)
    }

    /// `None`: it is sent in `Authorization`.
    #[inline]
    pub(crate) fn custom_headers(&self) -> Option<&[(HeaderName, HeaderValue)]> {
        self.inner.headers.as_deref()
    }

    /// The access token, without the scheme, for clients that add the scheme themselves.
    pub fn secret(&self) -> &str {
        after_scheme(&self.inner.header)
    }

    /// The token's generation in its session, which increases with each new token.
    pub fn generation(&self) -> u64 {
        self.inner.id.epoch.generation
    }

    /// When the session stops using it: the reported expiry minus a margin. `None`: unknown.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.inner.expires_at
    }

    pub(super) fn new(
        header: HeaderValue,
        headers: Option<CustomHeaders>,
        id: TokenId,
        expires_at: Option<SystemTime>,
    ) -> Self {
        Self { inner: Arc::new(AccessTokenInner { header, headers, id, expires_at }) }
    }

    pub(crate) fn id(&self) -> TokenId {
        self.inner.id
    }

    /// A copy with a header buffer of its own, zeroed like the original's.
    pub(crate) fn deep_clone(&self) -> Self {
        let AccessTokenInner { header, headers, id, expires_at } = &*self.inner;
        let copy = |(name, value): &(HeaderName, _)| (name.clone(), deep_clone(value));
        let headers = headers.as_ref().map(|headers| headers.iter().map(copy).collect());
        Self::new(deep_clone(header), headers, *id, *expires_at)
    }
}

fn deep_clone(value: &HeaderValue) -> HeaderValue {
    value.to_str().map_or_else(|_| value.clone(), |value| header_value("", value))
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.inner.id.epoch == other.inner.id.epoch && self.inner.header == other.inner.header
    }
}

impl Eq for AccessToken {}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

// === impl Epoch ===

impl Epoch {
    /// A session's first sign-in.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let sign_in = NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU64::MAX);
        Self { sign_in, generation: 0 }
    }

    /// Generations count on across sign-ins.
    pub(crate) fn next_sign_in(self) -> Self {
        Self { generation: self.generation, ..Self::new() }
    }

    pub(crate) fn is_same_sign_in(self, other: Self) -> bool {
        self.sign_in == other.sign_in
    }

    pub(crate) fn is_newer_than(self, other: Self) -> bool {
        self.is_same_sign_in(other) && self.generation > other.generation
    }
}
