//! [`StoreError`].

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::error::{BoxError, find_source};

/// Why a store couldn't be used.
///
/// Callers of a [`SharedSession`](super::SharedSession) find it in the chain of sources of their
/// [`Error`](crate::Error), by [`find`](Self::find).
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Debug)]
enum StoreErrorKind {
    Unavailable,
    /// Unavailable, and a write may have taken effect.
    Unknown,
    Unreadable,
    Busy(String),
    SignedOut,
}

// === impl StoreError ===

impl StoreError {
    /// The store can't be reached, doesn't respond, or refuses the operation. The session tries again.
    pub fn unavailable(error: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, source: Some(error.into().into()) }
    }

    /// What is stored isn't a valid record, or must not be used. It is neither used nor replaced until
    /// someone repairs or deletes it.
    ///
    /// `error` must not contain the content.
    pub fn unreadable(error: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::Unreadable, source: Some(error.into().into()) }
    }

    /// Another process has been refreshing the token for longer than a refresh waits for it.
    pub(super) fn busy(holder: &str) -> Self {
        Self { kind: StoreErrorKind::Busy(shown(holder)), source: None }
    }

    /// Nobody is signed in any more, or another user is.
    pub(super) fn signed_out() -> Self {
        Self { kind: StoreErrorKind::SignedOut, source: None }
    }

    pub(super) fn is_signed_out(&self) -> bool {
        matches!(self.kind, StoreErrorKind::SignedOut)
    }

    /// The same error, for a write that may have taken effect.
    pub(super) fn into_unknown(self) -> Self {
        match self.kind {
            StoreErrorKind::Unavailable => Self { kind: StoreErrorKind::Unknown, ..self },
            _ => self,
        }
    }

    /// Finds a `StoreError` in `error` and its chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// The store can't be reached, or refused the operation. The session tries again. Also true if
    /// [`is_unknown`](Self::is_unknown).
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Unknown)
    }

    /// The record can't be read or must not be used. The session doesn't write to it.
    pub fn is_unreadable(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unreadable)
    }

    /// Another process is refreshing the token; see [`holder`](Self::holder).
    pub fn is_busy(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Busy(_))
    }

    /// The store became unavailable during a write, which may have taken effect.
    pub fn is_unknown(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unknown)
    }

    /// A description of the process that holds the claim, such as its process ID, if it is busy.
    pub fn holder(&self) -> Option<&str> {
        match &self.kind {
            StoreErrorKind::Busy(holder) => Some(holder),
            _ => None,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StoreErrorKind::Unavailable => f.write_str("the token store is unavailable"),
            StoreErrorKind::Unknown => {
                f.write_str("the token store became unavailable during a write, which may have taken effect")
            }
            StoreErrorKind::Unreadable => f.write_str(
                "the stored token can't be used: fix the cause, or delete the record and sign in again",
            ),
            StoreErrorKind::SignedOut => {
                f.write_str("not signed in, or another process has signed in or out")
            }
            StoreErrorKind::Busy(holder) => {
                write!(
                    f,
                    "another process ({holder}) hasn't finished its refresh, and may be suspended: retry, or terminate it"
                )
            }
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A store's text as it may be shown: without control characters, so that it can't forge a line of a log.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

const MAX_SHOWN: usize = 200;
