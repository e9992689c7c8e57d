//! Parsing of `WWW-Authenticate` fields: strictly, and leniently if that fails.

use http_auth::{ChallengeRef, parser::ChallengeParser};

use super::{
    Challenge,
    lenient::{Lexeme, Lexemes},
};

/// The challenges parsed so far, within the limits.
#[derive(Default)]
pub(super) struct Parser {
    pub(super) challenges: Vec<Challenge>,
    pub(super) unreadable: bool,
}

// === impl Parser ===

impl Parser {
    pub(super) fn field(&mut self, field: &[u8]) {
        let fits = field.len() <= MAX_FIELD_SIZE;
        let field = if fits { field } else { truncate(&field[..MAX_FIELD_SIZE]) };
        self.unreadable |= !fits;
        let text = String::from_utf8_lossy(field);
        // One above the limit, so that `begin` notices that there are too many.
        match ChallengeParser::new(&text).take(MAX_CHALLENGES + 1).collect::<Result<Vec<_>, _>>() {
            Ok(challenges) => self.strict(&challenges),
            Err(_) => self.lenient(&text),
        }
    }

    fn strict(&mut self, challenges: &[ChallengeRef<'_>]) {
        for challenge in challenges {
            if !self.begin(challenge.scheme) {
                return;
            }
            for (name, value) in &challenge.params {
                self.param(name, value.to_unescaped());
            }
        }
    }

    pub(super) fn lenient(&mut self, text: &str) {
        let first = self.challenges.len();
        for lexeme in Lexemes::new(text) {
            if self.challenges.len() == first && matches!(lexeme, Lexeme::Param(..)) && !self.begin("") {
                return;
            }
            match lexeme {
                Lexeme::Scheme(scheme) => {
                    self.unreadable |= scheme.is_empty();
                    if !self.begin(scheme) {
                        return;
                    }
                }
                Lexeme::Token68(value) => {
                    if let Some(challenge) = self.challenges.last_mut() {
                        challenge.token68 = Some(value.to_owned());
                    }
                }
                Lexeme::Param(name, value) => self.param(name, value.into_owned()),
                Lexeme::Unreadable => self.unreadable = true,
            }
        }
    }

    /// Begins a challenge. Returns `false` if there are too many.
    fn begin(&mut self, scheme: &str) -> bool {
        let has_room = self.challenges.len() < MAX_CHALLENGES;
        if has_room {
            self.challenges.push(Challenge::new(scheme));
        }
        self.unreadable |= !has_room;
        has_room
    }

    fn param(&mut self, name: &str, value: String) {
        match self.challenges.last_mut() {
            Some(challenge) if challenge.params.len() < MAX_PARAMS => {
                challenge.params.push((name.to_owned(), value));
            }
            _ => self.unreadable = true,
        }
    }
}

/// Ends at the last comma: half an error code must not be taken for another one.
fn truncate(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|byte| *byte == b',');
    &field[..end.unwrap_or(0)]
}

pub(super) const MAX_FIELD_SIZE: usize = 16 * 1024;
pub(super) const MAX_CHALLENGES: usize = 64;
pub(super) const MAX_PARAMS: usize = 64;
