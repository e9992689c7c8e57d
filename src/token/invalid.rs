//! A text that no header can carry.

use std::fmt;

/// The text can't be an access token, or the name can't be its scheme.
///
/// It says what is wrong and where, and never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken {
    pub(super) part: Part,
    pub(super) flaw: InvalidTokenKind,
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
    NotATokenCharacter(usize),
}

// === impl InvalidToken ===

impl InvalidToken {
    /// The first byte that is wrong, counted from 0; `None` if there is nothing at all.
    pub fn position(&self) -> Option<usize> {
        match self.flaw {
            InvalidTokenKind::Empty => None,
            InvalidTokenKind::Control(at)
            | InvalidTokenKind::NotAscii(at)
            | InvalidTokenKind::NotATokenCharacter(at) => Some(at),
        }
    }

    /// Whether there is nothing but white space.
    pub fn is_empty(&self) -> bool {
        self.flaw == InvalidTokenKind::Empty
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::AccessToken => "access token",
            Part::Scheme => "token type",
        };
        match self.flaw {
            InvalidTokenKind::Empty => write!(f, "the {part} is empty"),
            InvalidTokenKind::Control(at) => write!(f, "the {part} has a control character at byte {at}"),
            InvalidTokenKind::NotAscii(at) => {
                write!(f, "the {part} has a character outside ASCII at byte {at}")
            }
            InvalidTokenKind::NotATokenCharacter(at) => write!(f, "the {part} has a separator at byte {at}"),
        }
    }
}

impl std::error::Error for InvalidToken {}
