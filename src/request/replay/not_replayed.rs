//! [`NotReplayed`].

use std::fmt;

/// Why the body of a rejected request couldn't be replayed, so that the request wasn't retried.
///
/// See [`AuthReport::not_replayed`](crate::future::AuthReport::not_replayed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReplayed {
    /// It exceeded the limit of [`Buffered`](super::Buffered).
    TooLarge,
    /// It can be sent only once: with [`NoReplay`](super::NoReplay), or if its clone method returned `None`.
    SingleUse,
    /// It failed, or panicked, while it was sent.
    Failed,
}

// === impl NotReplayed ===

impl fmt::Display for NotReplayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body exceeded the limit for a retry",
            Self::SingleUse => "the body can be sent only once",
            Self::Failed => "the body failed while it was sent",
        })
    }
}
