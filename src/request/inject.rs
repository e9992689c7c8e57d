//! Attaching the token.

use http::{HeaderMap, HeaderValue, header};

use crate::{
    error::{Error, ErrorKind},
    token::{AccessToken, TokenId},
};

use super::config::Config;

/// Whose header the request has now.
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
        let value = token.header_value().clone();
        // Append first: requests rarely have the header, and `entry` costs twice as much.
        let appended = match self.header == header::AUTHORIZATION {
            true => headers.try_append(header::AUTHORIZATION, value),
            false => headers.try_append(&self.header, value),
        };
        match appended {
            Ok(false) => Injected::Ours(token.id()),
            Ok(true) => self.resolve_conflict(headers, token),
            Err(_) => Injected::HeadersFull,
        }
    }

    /// Replaces the token of an earlier attempt.
    pub(super) fn replace(&self, headers: &mut HeaderMap, value: HeaderValue) -> Result<(), Error> {
        headers.try_insert(&self.header, value).map_err(|_| Error::new(ErrorKind::TooManyHeaders))?;
        Ok(())
    }

    /// Whether the request keeps a header of its own.
    pub(super) fn keeps_existing(&self, headers: &HeaderMap) -> bool {
        !self.override_existing && headers.contains_key(&self.header)
    }

    /// The request already had the header; ours was appended last.
    #[cold]
    fn resolve_conflict(&self, headers: &mut HeaderMap, token: &AccessToken) -> Injected {
        let mut values: Vec<_> = headers.get_all(&self.header).iter().cloned().collect();
        let ours = values.pop();
        if self.override_existing {
            values.clear();
            values.extend(ours);
        }
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            // It replaces all of them, and the header keeps its place.
            headers.insert(&self.header, first);
        }
        for value in values {
            headers.append(&self.header, value);
        }
        if self.override_existing { Injected::Ours(token.id()) } else { Injected::Theirs }
    }
}
