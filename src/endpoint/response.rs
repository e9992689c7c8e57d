//! An endpoint's answer, read. Pure: whatever the server writes, there is a token or a typed reason.

use std::borrow::Cow;

use http::StatusCode;
use zeroize::Zeroizing;

use crate::token::{InvalidToken, Token, TokenBuilder, Warning};

use super::{
    error::shown,
    fields::{Malformed, Members, Value},
    lifetime::{End, Lifetime},
};

/// Where the parts of an answer are.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) access_token: Cow<'static, str>,
    pub(crate) refresh_token: Cow<'static, str>,
    pub(crate) lifetime: Lifetime,
    /// The scheme to send the token with, whatever the answer says. `None`: as `token_type` has it, which must be Bearer.
    pub(crate) scheme: Option<Cow<'static, str>>,
    /// Where the error code is, in a refusal: the first that is known, or else the first.
    pub(crate) codes: Vec<Cow<'static, str>>,
    /// The scopes that were asked for.
    pub(crate) scopes: Vec<String>,
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Answer {
    Token(Token),
    /// It refuses, with its codes as they are written, in the order in which they are looked for.
    Error(Vec<Zeroizing<String>>),
    /// There is no access token that can be used; the refresh token that came all the same.
    Unusable(Flaw, Option<Zeroizing<String>>),
    Unreadable(Malformed),
}

/// Why an access token can't be used.
#[derive(Debug)]
pub(super) enum Flaw {
    Missing,
    OfAnotherType(Zeroizing<String>),
    Invalid(InvalidToken),
}

// === impl Shape ===

impl Shape {
    /// Reads a body, in which what isn't UTF-8 is overwritten.
    pub(super) fn read(&self, status: StatusCode, body: &mut [u8]) -> Answer {
        let members = match Members::try_new(make_utf8(body)) {
            Ok(members) => members,
            Err(_) if !status.is_success() => return Answer::Error(Vec::new()),
            Err(malformed) => return Answer::Unreadable(malformed),
        };
        if status.is_success() {
            // Some answer 200 and mean an error; one that comes with a token is an error, too.
            match members.get("error") {
                Some(error) if says_something(&error) => Answer::Error(code(error).into_iter().collect()),
                _ => self.token(members),
            }
        } else {
            Answer::Error(self.codes.iter().filter_map(|name| code(members.get(name)?)).collect())
        }
    }

    fn token(&self, members: Members<'_>) -> Answer {
        let refresh_token = members.get(&self.refresh_token).and_then(Value::into_text);
        match self.access_token(members, refresh_token.as_ref().map(|text| text.as_str())) {
            Ok(token) => Answer::Token(token),
            Err(flaw) => Answer::Unusable(flaw, refresh_token),
        }
    }

    fn access_token(&self, members: Members<'_>, refresh_token: Option<&str>) -> Result<Token, Flaw> {
        let access_token = members.get(&self.access_token).and_then(Value::into_text).ok_or(Flaw::Missing)?;
        let told_type = members.get("token_type").and_then(Value::into_text);
        let is_bearer = |name: &str| name.trim().eq_ignore_ascii_case("bearer");
        if let (None, Some(name)) = (&self.scheme, told_type.as_ref().filter(|name| !is_bearer(name))) {
            return Err(Flaw::OfAnotherType(name.clone()));
        }
        let end = self.lifetime.read(members, &access_token);
        let mut token = Token::builder(access_token.as_str());
        if let Some(scheme) = &self.scheme {
            token = token.scheme(scheme.clone());
        } else if told_type.is_none() {
            token = token.warning(Warning::MissingTokenType);
        }
        token = match end {
            End::In(life) => token.expires_in(life),
            End::At(instant) => token.expires_at(instant),
            End::Unknown if self.lifetime.is_expected() => token.warning(Warning::MissingLifetime),
            End::Unknown => token,
            End::Unreadable(life) => {
                let token = token.warning(Warning::InvalidLifetime);
                if let Some(life) = life { token.expires_in(life) } else { token }
            }
        };
        if let Some(refresh_token) = refresh_token {
            token = token.refresh_token(refresh_token);
        }
        token = self.add_scopes(token, members);
        token = self.add_extras(token, members);
        token.build().map_err(Flaw::Invalid)
    }

    /// RFC 6749 §5.1: an answer without a scope grants what was asked for.
    fn add_scopes(&self, token: TokenBuilder, members: Members<'_>) -> TokenBuilder {
        let Some(scope) = members.get("scope").and_then(Value::into_text) else { return token };
        // Blanks by the RFC, commas by some; a comma may be a part of a scope, too.
        let by_blanks: Vec<&str> = scope.split_ascii_whitespace().collect();
        let has = |scopes: &[&str], asked: &String| scopes.contains(&asked.as_str());
        let by_commas: Vec<&str> =
            scope.split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty()).collect();
        let is_by_commas = self.scopes.iter().any(|asked| !has(&by_blanks, asked) && has(&by_commas, asked));
        let granted = if is_by_commas { by_commas } else { by_blanks };
        let missing: Vec<String> =
            self.scopes.iter().filter(|asked| !has(&granted, asked)).cloned().collect();
        let token = token.scopes(granted);
        if missing.is_empty() { token } else { token.warning(Warning::missing_scopes(missing)) }
    }

    fn add_extras(&self, token: TokenBuilder, members: Members<'_>) -> TokenBuilder {
        let known = [&*self.access_token, &*self.refresh_token, "token_type", "scope"];
        let lifetime = self.lifetime.member();
        let mut token = Some(token);
        let mut left = MOST_EXTRAS;
        members.scalars(|name, value| {
            if left > 0 && !known.contains(&name) && lifetime != Some(name) {
                left -= 1;
                token = token.take().map(|token| token.extra(name, value));
            }
        });
        token.expect("it is put back by each member")
    }
}

fn says_something(error: &Value<'_>) -> bool {
    match error {
        Value::Text(text) => !text.trim().is_empty(),
        Value::Number(_) => error.number() != Some(0.0),
        Value::Bool(truth) => *truth,
        // Some languages write an empty one for none.
        Value::Object(text) | Value::Array(text) => !text[1..text.len() - 1].trim().is_empty(),
        Value::Other => true,
    }
}

/// The code of an error, which may be an object that has it.
fn code(error: Value<'_>) -> Option<Zeroizing<String>> {
    let text = match error {
        Value::Object(text) => {
            let members = Members::Json(text);
            ["code", "error", "type"].iter().find_map(|name| members.get(name)?.into_text())?
        }
        error => error.into_text()?,
    };
    (!shown(&text).is_empty()).then_some(text)
}

/// Overwrites what isn't UTF-8, so that one wrong byte in a message doesn't hide the code or the token beside it; with
/// what no header can carry, so that a token of wrong bytes doesn't become another token.
fn make_utf8(body: &mut [u8]) -> &str {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&body[from..]) {
        let wrong = from + error.valid_up_to();
        let end = error.error_len().map_or(body.len(), |length| wrong + length);
        body[wrong..end].fill(b'\x7f');
        from = end;
    }
    std::str::from_utf8(body).expect("all that was wrong is overwritten")
}

/// An answer of many tiny members must not cost many times its own size.
const MOST_EXTRAS: usize = 32;

#[cfg(test)]
mod tests;
