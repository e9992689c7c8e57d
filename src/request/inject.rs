//! Attaching the token.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{
    error::{Error, ErrorKind},
    token::{AccessToken, TokenId},
};

use super::config::Config;

/// Whose header the request carries now.
pub(super) enum Injected {
    Ours(TokenId),
    /// The caller's own.
    Theirs,
    HeadersFull,
}

// === impl Config ===

impl Config {
    /// Attaches the token.
    #[inline]
    pub(super) fn inject(&self, headers: &mut HeaderMap, token: &AccessToken) -> Injected {
        if let Some(custom) = token.custom_headers() {
            return self.inject_custom(headers, custom, token.id());
        }
        // Append first: requests rarely have the header, and `entry` costs twice as much.
        match headers.try_append(AUTHORIZATION, token.header_value().clone()) {
            Ok(false) => Injected::Ours(token.id()),
            Ok(true) => self.resolve_conflict(headers, token),
            Err(_) => Injected::HeadersFull,
        }
    }

    /// Replaces the token of an earlier attempt, which was sent in the headers with these names.
    pub(super) fn replace(
        headers: &mut HeaderMap,
        names: &[HeaderName],
        token: &AccessToken,
    ) -> Result<(), Error> {
        if token.custom_headers().is_some() {
            names.iter().for_each(|name| drop(headers.remove(name)));
        }
        for (name, value) in token.headers() {
            let inserted = headers.try_insert(name, value.clone());
            inserted.map_err(|_| Error::new(ErrorKind::TooManyHeaders))?;
        }
        Ok(())
    }

    /// Whether the request keeps the header that it already has.
    pub(super) fn keeps_existing(&self, headers: &HeaderMap, names: &[HeaderName]) -> bool {
        !self.override_existing && names.iter().any(|name| headers.contains_key(name))
    }

    #[cold]
    fn inject_custom(
        &self,
        headers: &mut HeaderMap,
        custom: &[(HeaderName, HeaderValue)],
        id: TokenId,
    ) -> Injected {
        if !self.override_existing && custom.iter().any(|(name, _)| headers.contains_key(name)) {
            return Injected::Theirs;
        }
        for (name, value) in custom {
            if headers.try_insert(name, value.clone()).is_err() {
                return Injected::HeadersFull;
            }
        }
        Injected::Ours(id)
    }

    /// The request already had the header; ours was appended last.
    #[cold]
    fn resolve_conflict(&self, headers: &mut HeaderMap, token: &AccessToken) -> Injected {
        let mut values: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
        let ours = values.pop();
        if self.override_existing {
            values.clear();
            values.extend(ours);
        }
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            // It replaces all of them, and the header keeps its place.
            headers.insert(AUTHORIZATION, first);
        }
        for value in values {
            headers.append(AUTHORIZATION, value);
        }
        if self.override_existing { Injected::Ours(token.id()) } else { Injected::Theirs }
    }
}
