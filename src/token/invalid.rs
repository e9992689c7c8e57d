//! [`InvalidToken`].

use std::fmt;

/// An access token or scheme isn't a valid header value. The message never contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken {
    pub(super) part: Part,
    pub(super) kind: InvalidTokenKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    AccessToken,
    Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidTokenKind {
    Empty,
    Control(usize),
    NotAscii(usize),
    NotTokenChar(usize),
}

// === impl InvalidToken ===

impl InvalidToken {
    /// Position of the first invalid byte; `None` if it is empty.
    pub fn position(&self) -> Option<usize> {
        match self.kind {
            InvalidTokenKind::Empty => None,
            InvalidTokenKind::Control(at)
            | InvalidTokenKind::NotAscii(at)
            | InvalidTokenKind::NotTokenChar(at) => Some(at),
        }
    }

    /// Whether it is empty or only whitespace.
    pub fn is_empty(&self) -> bool {
        self.kind == InvalidTokenKind::Empty
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::AccessToken => "access token",
            Part::Scheme => "scheme",
        };
        match self.kind {
            InvalidTokenKind::Empty => write!(f, "the {part} is empty"),
            InvalidTokenKind::Control(at) => write!(f, "the {part} has a control character at byte {at}"),
            InvalidTokenKind::NotAscii(at) => {
                write!(f, "the {part} has a non-ASCII character at byte {at}")
            }
            InvalidTokenKind::NotTokenChar(at) => {
                write!(f, "the {part} has an invalid character at byte {at}")
            }
        }
    }
}

impl std::error::Error for InvalidToken {}
