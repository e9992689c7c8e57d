//! A lexer for fields that violate the grammar, as real servers send them.
//!
//! It accepts missing commas, extra commas or words around the scheme, values without quotes or in single
//! quotes, and unescaped quotes within quotes. It reads conforming fields as the grammar defines them,
//! including what the strict parser doesn't support: token68 values, bytes above 0x7F, and repeated spaces.
//!
//! It never moves backwards. Lookahead ends after a word or two and, behind a quote, at the next quote, so
//! time is linear in the length of the field. NOTE: lookahead must not cross a quote of the kind that it
//! began behind.

use std::borrow::Cow;

/// A part of a field. Parameters belong to the scheme before them.
#[derive(Debug, PartialEq)]
pub(super) enum Lexeme<'a> {
    /// Empty if the word in its place isn't a valid scheme.
    Scheme(&'a str),
    Token68(&'a str),
    Param(&'a str, Cow<'a, str>),
    Unreadable,
}

pub(super) struct Lexemes<'a> {
    text: &'a str,
    at: usize,
    /// The next lexeme, if it was read together with the last one.
    next: Option<Lexeme<'a>>,
    /// From here on no single quote ends a value.
    no_single_quotes: bool,
}

// === impl Lexemes ===

impl<'a> Lexemes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, next: None, no_single_quotes: false }
    }

    fn scheme(&mut self, word: &'a str) -> Lexeme<'a> {
        self.at = self.past(self.at, is_space);
        if let Some((token68, end)) = self.token68(self.at) {
            self.at = end;
            self.next = Some(Lexeme::Token68(token68));
            return scheme(word);
        }
        let mut last = None;
        while !self.is_end_of_item(self.at) && self.byte(self.at) != Some(b'"') && !self.is_param(self.at) {
            let end = self.word_end(self.at, b'"');
            if end == self.at {
                break;
            }
            last = Some(&self.text[self.at..end]);
            self.at = self.past(end, is_space);
        }
        match last {
            None => scheme(word),
            // Words before the scheme: `null Bearer realm=..`
            Some(last) if self.is_param(self.at) => scheme(last),
            // Prose.
            Some(_) => {
                self.next = Some(Lexeme::Unreadable);
                scheme(word)
            }
        }
    }

    /// A value like `YII+/w==` with nothing behind it (RFC 9110 §11.2), and its end.
    fn token68(&self, at: usize) -> Option<(&'a str, usize)> {
        let text_end = self.past(at, is_token68);
        let end = self.past(text_end, |byte| byte == b'=');
        let behind = self.past(end, is_space);
        // `error=, scope=x`: two parameters, the first without a value.
        let is_param = end == text_end + 1 && self.is_param(self.past(behind, is_separator));
        (text_end > at && matches!(self.byte(behind), None | Some(b',')) && !is_param)
            .then(|| (&self.text[at..end], end))
    }

    /// Reads a value. `self.at` is at the equals sign.
    fn param(&mut self, name: &'a str) -> Lexeme<'a> {
        let after = self.at + 1;
        self.at = self.past(after, is_space);
        let value = match self.byte(self.at) {
            Some(b'"') => self.quoted(b'"'),
            Some(b'\'') if !self.no_single_quotes => self.quoted(b'\'').or_else(|| {
                self.no_single_quotes = true;
                Some(self.unquoted().into())
            }),
            _ if self.at > after && self.is_param(self.at) => Some("".into()),
            _ => Some(self.unquoted().into()),
        };
        match value {
            Some(value) if is_token(name) => Lexeme::Param(name, value),
            _ => Lexeme::Unreadable,
        }
    }

    /// Reads a quoted value; `self.at` is at the opening quote. A quote that doesn't end an item belongs to
    /// the value. Returns `None` if no quote ends it.
    fn quoted(&mut self, quote: u8) -> Option<Cow<'a, str>> {
        let start = self.at + 1;
        let mut at = start;
        let mut has_escapes = false;
        loop {
            match self.byte(at)? {
                // The skipped byte may begin a multi-byte character, whose other bytes can't be quotes or
                // backslashes.
                b'\\' if quote == b'"' => {
                    has_escapes = true;
                    at += 2;
                }
                byte if byte == quote && self.ends_value(at + 1, quote) => break,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        let value = &self.text[start..at];
        Some(if has_escapes { unescape(value).into() } else { value.into() })
    }

    /// Reads up to a comma, or to a space before a parameter.
    fn unquoted(&mut self) -> &'a str {
        let start = self.at;
        while let Some(byte) = self.byte(self.at) {
            match byte {
                b',' => break,
                b';' if self.byte(self.at + 1).is_none_or(is_space) => break,
                byte if is_space(byte) => {
                    let behind = self.past(self.at, is_space);
                    if self.is_param(behind) {
                        break;
                    }
                    self.at = behind;
                }
                _ => self.at += 1,
            }
        }
        self.text[start..self.at].trim_end_matches([' ', '\t'])
    }

    /// Whether a value may end before `at`: what follows is the end, a comma and another item, or a
    /// parameter.
    fn ends_value(&self, at: usize, quote: u8) -> bool {
        let at = self.past(at, is_space);
        match self.byte(at) {
            None => true,
            Some(b',' | b';') => self.begins_item(self.past(at, is_separator), quote),
            Some(_) => self.is_param_before(at, quote),
        }
    }

    /// Whether a parameter or a scheme begins at `at`, rather than prose.
    fn begins_item(&self, at: usize, quote: u8) -> bool {
        let mut end = at;
        for words in 0..2 {
            let start = self.past(end, is_space);
            end = self.word_end(start, quote);
            if end == start {
                return words == 0 && self.byte(start).is_none();
            }
            let behind = self.past(end, is_space);
            if self.is_end_of_item(behind) || self.byte(behind) == Some(b'=') {
                return true;
            }
        }
        false
    }

    fn is_end_of_item(&self, at: usize) -> bool {
        matches!(self.byte(at), None | Some(b',' | b';'))
    }

    fn is_param(&self, at: usize) -> bool {
        self.is_param_before(at, b'"')
    }

    /// Whether a word and an equals sign (two are padding) come before any quote.
    fn is_param_before(&self, at: usize, quote: u8) -> bool {
        let end = self.word_end(at, quote);
        let equals = self.past(end, is_space);
        end > at && self.byte(equals) == Some(b'=') && self.byte(equals + 1) != Some(b'=')
    }

    fn word_end(&self, at: usize, quote: u8) -> usize {
        self.past(at, |byte| !is_separator(byte) && !matches!(byte, b'=' | b'"') && byte != quote)
    }

    fn past(&self, at: usize, skipped: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| skipped(**byte)).count()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }
}

impl<'a> Iterator for Lexemes<'a> {
    type Item = Lexeme<'a>;

    fn next(&mut self) -> Option<Lexeme<'a>> {
        if let Some(lexeme) = self.next.take() {
            return Some(lexeme);
        }
        self.at = self.past(self.at, is_separator);
        let start = self.at;
        if self.byte(start)? == b'"' {
            // A string without a name. If it has no end either, the rest can't be interpreted.
            if self.quoted(b'"').is_none() {
                self.at = self.text.len();
            }
            return Some(Lexeme::Unreadable);
        }
        let end = self.word_end(start, b'"');
        let word = &self.text[start..end];
        let behind = self.past(end, is_space);
        if self.byte(behind) == Some(b'=') {
            self.at = behind;
            return Some(self.param(word));
        }
        self.at = end;
        Some(self.scheme(word))
    }
}

fn scheme(word: &str) -> Lexeme<'_> {
    let word = word.strip_suffix(':').unwrap_or(word);
    Lexeme::Scheme(if is_token(word) { word } else { "" })
}

fn unescape(value: &str) -> String {
    let mut unescaped = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        unescaped.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    unescaped
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_separator(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b';')
}

fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

fn is_token(word: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(is_tchar)
}
