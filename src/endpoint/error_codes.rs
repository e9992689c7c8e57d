//! The error codes of a response.

use std::borrow::Cow;

use http::StatusCode;

use super::{
    classifier::ErrorClassifier,
    fields::{Fields, Value},
};

/// What a response says about an error.
#[derive(Debug, Default)]
pub(super) struct ErrorCodes<'a> {
    /// As written, in the order of the fields that were searched. Codes that mean success are left out.
    pub(super) codes: Vec<Cow<'a, str>>,
    /// Sub-codes and descriptions, which only the classifier sees.
    pub(super) details: Vec<Cow<'a, str>>,
    /// Whether it is an error even beside a token.
    pub(super) is_error: bool,
}

/// Reads codes, leaving out those that mean success.
struct CodeReader<'r> {
    status: StatusCode,
    errors: &'r ErrorClassifier,
}

// === impl ErrorCodes ===

impl<'a> ErrorCodes<'a> {
    /// Reads the codes at `path`, or at the usual places, and in `error`.
    pub(super) fn read(
        fields: Fields<'a>,
        path: Option<&str>,
        status: StatusCode,
        errors: &ErrorClassifier,
    ) -> Self {
        let reader = CodeReader { status, errors };
        let mut found = Self::default();
        if let Some(value) = path.and_then(|path| fields.get(path)) {
            found.codes.extend(reader.codes(value).0);
            found.is_error = !found.codes.is_empty();
        }
        if path != Some("error") {
            if let Some(error) = fields.get("error") {
                // Some servers always send the field.
                let is_set = is_set(&error);
                let (codes, is_success) = reader.codes(error);
                found.is_error |= is_set && !(is_success && codes.is_empty());
                found.codes.extend(codes);
            }
        }
        if path.is_none() {
            let usual = USUAL.iter().filter_map(|name| fields.get(name));
            let usual: Vec<_> = usual.flat_map(|value| reader.codes(value).0).collect();
            // A `code` of unknown meaning beside a token doesn't make it an error.
            found.is_error |= usual.iter().any(|code| errors.knows(code));
            found.codes.extend(usual);
        }
        found.read_details(fields);
        if let Some(Value::Object(error)) = fields.get("error") {
            found.read_details(Fields::Json(error));
        }
        found
    }

    fn read_details(&mut self, fields: Fields<'a>) {
        let lists = (0..MAX_SUB_CODES).map_while(|at| fields.get(&format!("/error_codes/{at}")));
        let details = lists.chain(DETAILS.iter().filter_map(|name| fields.get(name)));
        self.details.extend(details.filter_map(Value::into_text).map(bounded));
    }
}

// === impl CodeReader ===

impl CodeReader<'_> {
    /// The codes of a value, which may be an object that contains them, and whether there was one for success.
    fn codes<'a>(&self, value: Value<'a>) -> (Vec<Cow<'a, str>>, bool) {
        let candidates: Vec<_> = match value {
            Value::Object(text) => {
                let fields = Fields::Json(text);
                ["code", "error", "type"].iter().filter_map(|name| code(fields.get(name)?)).collect()
            }
            value => code(value).into_iter().collect(),
        };
        let count = candidates.len();
        let codes: Vec<_> = candidates.into_iter().filter(|code| !self.means_success(code)).take(1).collect();
        let has_success = codes.is_empty() && count > 0;
        (codes, has_success)
    }

    fn means_success(&self, code: &str) -> bool {
        let code = code.trim();
        ["", "0", "ok", "success"].iter().any(|known| known.eq_ignore_ascii_case(code))
            || self.status.is_success() && self.status.as_str() == code
            || self.errors.is_success_code(code)
    }
}

/// A string, even an empty one, or a number.
fn code(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(bounded(text)),
        Value::Number(text) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// A copy of a text costs memory, and the same text may be at several of the places that are searched.
fn bounded(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Owned(text) => text.chars().take(MAX_COPIED).collect(),
        Cow::Borrowed(text) => Cow::Borrowed(text),
    }
}

/// Whether there is an error at all.
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

/// Where a code may be besides `error`. The last is Fitbit's.
const USUAL: [&str; 2] = ["code", "/errors/0/errorType"];

/// Entra's, Meta's and Google's sub-codes, and RFC 6749's description.
const DETAILS: [&str; 4] = ["suberror", "error_subcode", "error_subtype", "error_description"];

const MAX_SUB_CODES: usize = 8;

/// In characters, more than is shown.
const MAX_COPIED: usize = 1024;
