//! Parsing of responses. Any input yields a token or a typed reason.

use std::borrow::Cow;

use http::StatusCode;
use zeroize::Zeroizing;

use crate::token::{InvalidToken, Token, TokenBuilder, Warning};

use super::{
    error::printable,
    fields::{Fields, Malformed, Value},
    lifetime::{Lifetime, StatedExpiry},
};

/// Which fields of a response hold what.
#[derive(Clone, Debug)]
pub(crate) struct ResponseFormat {
    pub(crate) access_token: Cow<'static, str>,
    pub(crate) refresh_token: Cow<'static, str>,
    pub(crate) lifetime: Lifetime,
    /// The scheme to use, whatever `token_type` says. `None`: Bearer, and another `token_type` is an error.
    pub(crate) scheme: Option<Cow<'static, str>>,
    /// The fields that may hold the error code of an error response.
    pub(crate) codes: Vec<Cow<'static, str>>,
    /// The requested scopes.
    pub(crate) scopes: Vec<String>,
}

/// What a response means.
#[derive(Debug)]
pub(super) enum ParsedResponse {
    Token(Token),
    /// An error, with its codes as written, in the order of the fields that were searched.
    Error(Vec<Zeroizing<String>>),
    /// No usable access token; the refresh token, if there is one.
    Unusable(TokenFlaw, Option<Zeroizing<String>>),
    Malformed(Malformed),
}

/// Why an access token can't be used.
#[derive(Debug)]
pub(super) enum TokenFlaw {
    Missing,
    UnsupportedType(Zeroizing<String>),
    Invalid(InvalidToken),
}

// === impl ResponseFormat ===

impl ResponseFormat {
    /// Parses a body. Bytes that aren't UTF-8 are overwritten.
    pub(super) fn parse(&self, status: StatusCode, body: &mut [u8]) -> ParsedResponse {
        let fields = match Fields::try_new(make_utf8(body)) {
            Ok(fields) => fields,
            Err(_) if !status.is_success() => return ParsedResponse::Error(Vec::new()),
            Err(malformed) => return ParsedResponse::Malformed(malformed),
        };
        if status.is_success() {
            // Some servers report errors with status 200. An error next to a token is an error, too.
            match fields.get("error") {
                Some(error) if is_set(&error) => ParsedResponse::Error(code(error).into_iter().collect()),
                _ => self.token(fields),
            }
        } else {
            ParsedResponse::Error(self.codes.iter().filter_map(|name| code(fields.get(name)?)).collect())
        }
    }

    fn token(&self, fields: Fields<'_>) -> ParsedResponse {
        let refresh_token = fields.get(&self.refresh_token).and_then(Value::into_string);
        match self.access_token(fields, refresh_token.as_ref().map(|text| text.as_str())) {
            Ok(token) => ParsedResponse::Token(token),
            Err(flaw) => ParsedResponse::Unusable(flaw, refresh_token),
        }
    }

    fn access_token(&self, fields: Fields<'_>, refresh_token: Option<&str>) -> Result<Token, TokenFlaw> {
        let access_token =
            fields.get(&self.access_token).and_then(Value::into_string).ok_or(TokenFlaw::Missing)?;
        let token_type = fields.get("token_type").and_then(Value::into_string);
        let is_bearer = |name: &str| name.trim().eq_ignore_ascii_case("bearer");
        if let (None, Some(name)) = (&self.scheme, token_type.as_ref().filter(|name| !is_bearer(name))) {
            return Err(TokenFlaw::UnsupportedType(name.clone()));
        }
        let expiry = self.lifetime.read(fields, &access_token);
        let mut token = Token::builder(access_token.as_str());
        if let Some(scheme) = &self.scheme {
            token = token.scheme(scheme.clone());
        } else if token_type.is_none() {
            token = token.warning(Warning::MissingTokenType);
        }
        token = match expiry {
            StatedExpiry::In(lifetime) => token.expires_in(lifetime),
            StatedExpiry::At(time) => token.expires_at(time),
            StatedExpiry::Unknown if self.lifetime.is_expected() => token.warning(Warning::MissingLifetime),
            StatedExpiry::Unknown => token,
            StatedExpiry::Malformed(default) => {
                let token = token.warning(Warning::InvalidLifetime);
                if let Some(lifetime) = default { token.expires_in(lifetime) } else { token }
            }
        };
        if let Some(refresh_token) = refresh_token {
            token = token.refresh_token(refresh_token);
        }
        token = self.add_scopes(token, fields);
        token = self.add_extras(token, fields);
        token.build().map_err(TokenFlaw::Invalid)
    }

    /// RFC 6749 §5.1: a response without a scope grants what was requested.
    fn add_scopes(&self, token: TokenBuilder, fields: Fields<'_>) -> TokenBuilder {
        let Some(scope) = fields.get("scope").and_then(Value::into_string) else { return token };
        // Separated by spaces (RFC 6749 §3.3). Some servers use commas, which a scope may also contain.
        let by_spaces: Vec<&str> = scope.split_ascii_whitespace().collect();
        let has = |scopes: &[&str], requested: &String| scopes.contains(&requested.as_str());
        let by_commas: Vec<&str> =
            scope.split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty()).collect();
        let is_by_commas =
            self.scopes.iter().any(|requested| !has(&by_spaces, requested) && has(&by_commas, requested));
        let granted = if is_by_commas { by_commas } else { by_spaces };
        let missing: Vec<String> =
            self.scopes.iter().filter(|requested| !has(&granted, requested)).cloned().collect();
        let token = token.scopes(granted);
        if missing.is_empty() { token } else { token.warning(Warning::missing_scopes(missing)) }
    }

    fn add_extras(&self, token: TokenBuilder, fields: Fields<'_>) -> TokenBuilder {
        let known = [&*self.access_token, &*self.refresh_token, "token_type", "scope"];
        let lifetime = self.lifetime.field_name();
        let mut token = Some(token);
        let mut remaining = MAX_EXTRAS;
        fields.scalars(|name, value| {
            if remaining > 0 && !known.contains(&name) && lifetime != Some(name) {
                remaining -= 1;
                token = token.take().map(|token| token.extra(name, value));
            }
        });
        token.expect("always restored by the closure")
    }
}

/// Whether there is an error: some servers always send the field.
fn is_set(error: &Value<'_>) -> bool {
    match error {
        Value::String(text) => !text.trim().is_empty(),
        Value::Number(_) => error.number() != Some(0.0),
        Value::Bool(is_error) => *is_error,
        // Some languages serialise "none" as an empty object or array.
        Value::Object(text) | Value::Array(text) => !text[1..text.len() - 1].trim().is_empty(),
        Value::Other => true,
    }
}

/// The code of an error, which may be an object that contains it.
fn code(error: Value<'_>) -> Option<Zeroizing<String>> {
    let text = match error {
        Value::Object(text) => {
            let fields = Fields::Json(text);
            ["code", "error", "type"].iter().find_map(|name| fields.get(name)?.into_string())?
        }
        error => error.into_string()?,
    };
    (!printable(&text).is_empty()).then_some(text)
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

/// Bounds the memory that a response with many tiny fields takes.
const MAX_EXTRAS: usize = 32;

#[cfg(test)]
mod tests;
