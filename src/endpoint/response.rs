//! Parsing of responses. Any input yields a token or a typed reason.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::StatusCode;

use crate::token::{Token, TokenBuilder, Warning};

use super::{
    classifier::ErrorClassifier,
    error_codes::ErrorCodes,
    fields::{Fields, Malformed, Value},
    lifetime::{Lifetime, StatedExpiry, seconds},
    scopes::Granted,
};

/// Which fields of a response hold what.
#[derive(Clone, Debug)]
pub(crate) struct ResponseFormat {
    pub(crate) access_token: Cow<'static, str>,
    pub(crate) refresh_token: Cow<'static, str>,
    pub(crate) lifetime: Lifetime,
    /// The refresh token's own. `None`: the usual fields.
    pub(crate) refresh_token_lifetime: Option<Lifetime>,
    /// The scheme to use, whatever `token_type` says. `None`: Bearer, and another `token_type` is an error.
    pub(crate) scheme: Option<Cow<'static, str>>,
    /// The field with the error code. `None`: the usual ones.
    pub(crate) code: Option<Cow<'static, str>>,
    /// The requested scopes.
    pub(crate) scopes: Vec<String>,
}

/// A response: the tokens in it, and what it means.
#[derive(Debug)]
pub(super) struct ParsedResponse<'a> {
    /// `None` if there is none, or if it is in the builder.
    pub(super) access_token: Option<Cow<'a, str>>,
    pub(super) refresh_token: Option<Cow<'a, str>>,
    pub(super) meaning: Meaning<'a>,
}

#[derive(Debug)]
pub(super) enum Meaning<'a> {
    Token(Box<TokenBuilder>),
    Error(ErrorCodes<'a>),
    /// No usable access token.
    Unusable(TokenFlaw<'a>),
    Malformed(Malformed),
}

/// Why an access token can't be used.
#[derive(Debug)]
pub(super) enum TokenFlaw<'a> {
    Missing,
    UnsupportedType(Cow<'a, str>),
    /// Probably a message.
    HasSpaces,
}

// === impl ResponseFormat ===

impl ResponseFormat {
    /// Parses a body. Bytes that aren't UTF-8 are overwritten.
    ///
    /// `now` is when a lifetime begins that is counted here.
    pub(super) fn parse<'a>(
        &self,
        status: StatusCode,
        body: &'a mut [u8],
        errors: &ErrorClassifier,
        now: SystemTime,
    ) -> ParsedResponse<'a> {
        let without_tokens = |meaning| ParsedResponse { access_token: None, refresh_token: None, meaning };
        let fields = match Fields::try_new(make_utf8(body)) {
            Ok(fields) => fields,
            Err(_) if !status.is_success() => return without_tokens(Meaning::Error(ErrorCodes::default())),
            Err(malformed) => return without_tokens(Meaning::Malformed(malformed)),
        };
        let found = ErrorCodes::read(fields, self.code.as_deref(), status, errors);
        let mut response = ParsedResponse {
            access_token: token(fields, &self.access_token),
            refresh_token: token(fields, &self.refresh_token),
            meaning: Meaning::Unusable(TokenFlaw::Missing),
        };
        // Some servers report errors with status 200. An error next to a token is an error, too.
        let is_refusal = !status.is_success() || found.is_error;
        response.meaning = match response.access_token.take() {
            access_token if is_refusal => {
                response.access_token = access_token;
                Meaning::Error(found)
            }
            None if !found.codes.is_empty() => Meaning::Error(found),
            None => Meaning::Unusable(TokenFlaw::Missing),
            Some(access_token) => match self.flaw(fields, &access_token) {
                Some(flaw) => {
                    response.access_token = Some(access_token);
                    Meaning::Unusable(flaw)
                }
                None => {
                    let builder = self.builder(fields, access_token, response.refresh_token.take(), now);
                    Meaning::Token(Box::new(builder))
                }
            },
        };
        response
    }

    fn flaw<'a>(&self, fields: Fields<'a>, access_token: &str) -> Option<TokenFlaw<'a>> {
        if access_token.trim().contains(char::is_whitespace) {
            return Some(TokenFlaw::HasSpaces);
        }
        let token_type = fields.get("token_type").and_then(Value::into_text)?;
        let is_fine = self.scheme.is_some() || token_type.trim().eq_ignore_ascii_case("bearer");
        (!is_fine).then_some(TokenFlaw::UnsupportedType(token_type))
    }

    fn builder(
        &self,
        fields: Fields<'_>,
        access_token: Cow<'_, str>,
        refresh_token: Option<Cow<'_, str>>,
        now: SystemTime,
    ) -> TokenBuilder {
        let (expiry, warning) = self.lifetime.read(fields, &access_token);
        let refresh_token_expiry = self.refresh_token_expiry(fields, &access_token);
        let mut token = Token::builder(access_token).refresh_token(refresh_token);
        if let Some(scheme) = &self.scheme {
            token = token.scheme(scheme.clone());
        } else if fields.get("token_type").and_then(Value::into_text).is_none() {
            token = token.warning(Warning::MissingTokenType);
        }
        token = match expiry {
            Some(StatedExpiry::In(lifetime)) => token.expires_in(lifetime),
            Some(StatedExpiry::At(time)) => token.expires_at(time),
            None => token,
        };
        if let Some(warning) = warning {
            token = token.warning(warning);
        }
        // Microsoft's.
        let refresh_in = fields.get("refresh_in").and_then(|value| value.number());
        if let Some(refresh_in) = refresh_in.filter(|delay| *delay > 0.0) {
            token = token.refresh_in(seconds(refresh_in));
        }
        token = match refresh_token_expiry {
            Some(StatedExpiry::In(lifetime)) => token.refresh_token_expires_at(now.checked_add(lifetime)),
            Some(StatedExpiry::At(time)) => token.refresh_token_expires_at(time),
            None => token,
        };
        token = self.add_scopes(token, fields);
        self.add_extras(token, fields)
    }

    fn refresh_token_expiry(&self, fields: Fields<'_>, access_token: &str) -> Option<StatedExpiry> {
        let read = |lifetime: &Lifetime| lifetime.read(fields, access_token).0;
        let stated = match &self.refresh_token_lifetime {
            Some(lifetime) => read(lifetime),
            None => REFRESH_TOKEN_LIFETIMES.iter().find_map(|name| read(&Lifetime::seconds(*name))),
        };
        // Keycloak and Apigee write 0 for "never".
        let never = [StatedExpiry::In(Duration::ZERO), StatedExpiry::At(SystemTime::UNIX_EPOCH)];
        stated.filter(|expiry| !never.contains(expiry))
    }

    /// RFC 6749 §5.1: a response without a scope grants what was requested.
    fn add_scopes(&self, token: TokenBuilder, fields: Fields<'_>) -> TokenBuilder {
        let granted = fields.get("scope").and_then(|scope| Granted::read(scope, &self.scopes));
        let Some(Granted { kept, missing }) = granted else { return token };
        let token = token.scopes(kept);
        if missing.is_empty() { token } else { token.warning(Warning::missing_scopes(missing)) }
    }

    fn add_extras(&self, token: TokenBuilder, fields: Fields<'_>) -> TokenBuilder {
        let known = [&*self.access_token, &*self.refresh_token, "token_type", "scope"];
        let is_extra = |name: &str| !known.contains(&name) && self.lifetime.field_name() != Some(name);
        let mut token = Some(token);
        let mut remaining = MAX_EXTRAS;
        fields.scalars(is_extra, |name, value| {
            if remaining > 0 {
                remaining -= 1;
                token = token.take().map(|token| token.extra(name, value));
            }
        });
        token.expect("always restored by the closure")
    }
}

/// A token, unless it is one of the words that some servers send instead of none.
fn token<'a>(fields: Fields<'a>, path: &str) -> Option<Cow<'a, str>> {
    let token = fields.get(path).and_then(Value::into_text)?;
    let is_none =
        ["null", "undefined", "none", "N/A"].iter().any(|word| word.eq_ignore_ascii_case(token.trim()));
    (!is_none).then_some(token)
}

/// Overwrites invalid UTF-8, so that a bad byte in a message doesn't hide the code or the token next to it.
/// The replacement is invalid in a header value, so that a token with bad bytes doesn't become another token.
fn make_utf8(body: &mut [u8]) -> &str {
    let mut start = 0;
    while let Err(error) = std::str::from_utf8(&body[start..]) {
        let invalid = start + error.valid_up_to();
        let end = error.error_len().map_or(body.len(), |length| invalid + length);
        body[invalid..end].fill(b'\x7f');
        start = end;
    }
    std::str::from_utf8(body).expect("invalid bytes have been overwritten")
}

/// Keycloak's, Microsoft's and Google's, Intuit's.
const REFRESH_TOKEN_LIFETIMES: [&str; 3] =
    ["refresh_expires_in", "refresh_token_expires_in", "x_refresh_token_expires_in"];

/// Bounds the memory that a response with many tiny fields takes.
pub(super) const MAX_EXTRAS: usize = 32;

#[cfg(test)]
mod tests;
