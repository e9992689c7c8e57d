//! A reading of fields that break the grammar, as real servers write them.
//!
//! It knows what servers mean by parameters without commas, a comma or a word too many around the scheme, values
//! without quotes or in single ones, and quotes within quotes. What keeps to the grammar it reads as that says, and
//! also what the strict parser leaves out: `token68`, bytes above 0x7F, more than one space.
//!
//! It goes forward only. Looking ahead ends within the next word or two and, from a quote, at the next quote: time is
//! linear in the text, whatever that is. NOTE: so no look ahead may cross the quote that it began behind.

use std::borrow::Cow;

/// What a field consists of. Parameters belong to the scheme before them.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// Empty: the word in its place can't be one.
    Scheme(&'a str),
    Token68(&'a str),
    Param(&'a str, Cow<'a, str>),
    Unreadable,
}

pub(super) struct Pieces<'a> {
    text: &'a str,
    at: usize,
    /// What follows the piece that was read last.
    next: Option<Piece<'a>>,
    /// No single quote from here on ends a value.
    no_single_quotes: bool,
}

// === impl Pieces ===

impl<'a> Pieces<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0, next: None, no_single_quotes: false }
    }

    fn scheme(&mut self, word: &'a str) -> Piece<'a> {
        self.at = self.past(self.at, is_space);
        if let Some((token68, end)) = self.token68(self.at) {
            self.at = end;
            self.next = Some(Piece::Token68(token68));
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
            // Words before the scheme (`null Bearer realm=..`), or prose.
            Some(last) if self.is_param(self.at) => scheme(last),
            Some(_) => {
                self.next = Some(Piece::Unreadable);
                scheme(word)
            }
        }
    }

    /// A text like `YII+/w==`, and nothing behind it (RFC 9110 §11.2).
    fn token68(&self, at: usize) -> Option<(&'a str, usize)> {
        let text_end = self.past(at, is_token68);
        let end = self.past(text_end, |byte| byte == b'=');
        let behind = self.past(end, is_space);
        // `error=, scope=x` are two parameters, the first without a value.
        let is_param = end == text_end + 1 && self.is_param(self.past(behind, is_separator));
        (text_end > at && matches!(self.byte(behind), None | Some(b',')) && !is_param)
            .then(|| (&self.text[at..end], end))
    }

    /// From the equals sign.
    fn param(&mut self, name: &'a str) -> Piece<'a> {
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
            Some(value) if is_token(name) => Piece::Param(name, value),
            _ => Piece::Unreadable,
        }
    }

    /// From the opening quote; a quote that doesn't end an item belongs to the value. None: none does.
    fn quoted(&mut self, quote: u8) -> Option<Cow<'a, str>> {
        let start = self.at + 1;
        let mut at = start;
        let mut has_escapes = false;
        loop {
            match self.byte(at)? {
                // A byte that is skipped may be the first of several; none of the others is a quote or a backslash.
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

    /// Up to a comma, or to a space behind which a parameter begins.
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

    /// Behind a quote: the end, another item behind a comma, or a parameter without one.
    fn ends_value(&self, at: usize, quote: u8) -> bool {
        let at = self.past(at, is_space);
        match self.byte(at) {
            None => true,
            Some(b',' | b';') => self.begins_item(self.past(at, is_separator), quote),
            Some(_) => self.is_param_before(at, quote),
        }
    }

    /// A parameter, or a scheme with what may follow it; not a piece of prose.
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

    /// A word and an equals sign (two are a padding), before any quote.
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

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some(piece) = self.next.take() {
            return Some(piece);
        }
        self.at = self.past(self.at, is_separator);
        let start = self.at;
        if self.byte(start)? == b'"' {
            // A text without a name; or without an end, and then anything behind the quote is anyone's guess.
            if self.quoted(b'"').is_none() {
                self.at = self.text.len();
            }
            return Some(Piece::Unreadable);
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

fn scheme(word: &str) -> Piece<'_> {
    let word = word.strip_suffix(':').unwrap_or(word);
    Piece::Scheme(if is_token(word) { word } else { "" })
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
