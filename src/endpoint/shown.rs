//! Which part of a server's text may be shown.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, header};

use super::fields::percent_decoded;

/// The secrets of an exchange: nothing that has a part of one is shown.
#[derive(Default)]
pub(super) struct Secrets<'a> {
    tokens: Vec<Cow<'a, str>>,
    /// The last request, whose fields and headers are searched only if something is to be shown.
    request: Mutex<Option<Request<Bytes>>>,
}

// === impl Secrets ===

impl<'a> Secrets<'a> {
    pub(super) fn new(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        Self { tokens: tokens.into_iter().map(Cow::Borrowed).collect(), request: Mutex::default() }
    }

    pub(super) fn sent(&self, request: &Request<Bytes>) {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.clone());
    }

    /// The text as it may be shown: characters of a code (RFC 6749 §5.2), at most 64 of them. `None` if there
    /// are none, or if it has a part of one of these secrets or of `received`, the new tokens.
    pub(super) fn shown(&self, text: &str, received: &[&str]) -> Option<String> {
        let visible = visible(text);
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_secret = PartOf::new(&visible);
        let tokens = self.tokens.iter().map(|token| &**token).chain(received.iter().copied());
        tokens.for_each(|token| is_secret.compare(token));
        if let Some(request) = &*request {
            each_secret(request, |secret| is_secret.compare(secret));
        }
        let shown: String = visible.chars().take(MAX_SHOWN).collect();
        let shown = shown.trim();
        (!is_secret.found && !shown.is_empty()).then(|| shown.to_owned())
    }
}

/// The characters that an error code may have (RFC 6749 §5.2), up to a limit.
pub(super) fn visible(text: &str) -> String {
    text.trim().chars().filter(is_visible).take(MAX_COMPARED).collect()
}

fn is_visible(c: &char) -> bool {
    (' '..='~').contains(c) && !matches!(c, '"' | '\\')
}

/// Compares a text with secrets, without blanks and upper case, raw and percent-decoded.
struct PartOf {
    spellings: [String; 2],
    runs: HashSet<[u8; RUN]>,
    found: bool,
}

impl PartOf {
    fn new(text: &str) -> Self {
        let spellings = spellings(text);
        let runs =
            spellings.iter().flat_map(|text| text.as_bytes().windows(RUN)).filter_map(to_run).collect();
        Self { spellings, runs, found: false }
    }

    fn compare(&mut self, secret: &str) {
        self.found |= spellings(secret).iter().any(|secret| match secret.len() {
            // A shorter one is no secret, and has no run.
            4..RUN => self.spellings.iter().any(|text| text.contains(secret)),
            _ => secret.as_bytes().windows(RUN).filter_map(to_run).any(|run| self.runs.contains(&run)),
        });
    }
}

fn to_run(window: &[u8]) -> Option<[u8; RUN]> {
    window.try_into().ok()
}

/// A text in lower case, raw and percent-decoded, without blanks and what is never shown. A plus is a blank, too, as in
/// forms.
fn spellings(text: &str) -> [String; 2] {
    let compared = |text: &str| -> String {
        let is_compared = |c: &char| is_visible(c) && !matches!(c, ' ' | '+');
        text.chars().filter(is_compared).map(|c| c.to_ascii_lowercase()).collect()
    };
    let raw = compared(text);
    let decoded = compared(&percent_decoded(&raw, |b| b));
    [raw, decoded]
}

/// Calls `visit` with each value of a request that may be a secret: in its form or JSON object, its query, and
/// its sensitive headers.
fn each_secret(request: &Request<Bytes>, mut visit: impl FnMut(&str)) {
    for value in request.headers().values().filter(|value| value.is_sensitive()) {
        let Ok(value) = value.to_str() else { continue };
        let secret = value.split_once(' ').map_or(value, |(_scheme, secret)| secret);
        visit(secret);
        let decoded = STANDARD.decode(secret).ok().and_then(|pair| String::from_utf8(pair).ok());
        if let Some((_client_id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            visit(secret);
        }
    }
    let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|name| *name == FORM);
    let form = if is_form { &request.body()[..] } else { &[] };
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(form).chain(form_urlencoded::parse(query.as_bytes())) {
        if !PUBLIC.contains(&&*name) {
            visit(&value);
        }
    }
    if !is_form {
        if let Ok(json) = serde_json::from_slice(request.body()) {
            each_string(&json, &mut visit);
        }
    }
}

fn each_string(json: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    match json {
        serde_json::Value::String(text) => visit(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| each_string(item, visit)),
        serde_json::Value::Object(fields) => {
            let is_public = |name: &String| PUBLIC.contains(&name.as_str());
            let fields = fields.iter().filter(|(name, _)| !is_public(name));
            fields.for_each(|(_, value)| each_string(value, visit));
        }
        _ => {}
    }
}

/// So much of a secret in a text hides it.
const RUN: usize = 8;

const MAX_SHOWN: usize = 64;

/// More than is shown, so that a secret that the limit cuts is recognised.
const MAX_COMPARED: usize = 256;

const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters of RFC 6749, 7009, 7523, 8693 and 8707 that aren't secrets.
const PUBLIC: [&str; 11] = [
    "actor_token_type",
    "audience",
    "claims",
    "client_assertion_type",
    "client_id",
    "grant_type",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token_type",
    "token_type_hint",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d58_a_text_with_eight_characters_of_a_secret_is_not_shown_in_any_spelling() {
        let secrets = Secrets::new(["R1/opaque+and-secret", "short"]);
        for text in [
            "R1/opaque+and-secret",
            "token R1/opaque",
            "r1/OPAQUE+AND-SECRET",
            "R1/ opa que+and",
            "R1/opa\r\nque",
            "R1%2Fopaque%2Band-secret",
            "%52%31%2f%6f%70%61%71%75%65",
            "and-secr",
            "SHORT",
            "a new-TOKEN",
            "new%2Dtoken",
        ] {
            assert_eq!(secrets.shown(text, &["new-token"]), None, "{text}");
        }
        for (text, shown) in [
            ("invalid_grant", "invalid_grant"),
            ("R1/opaq and-se", "R1/opaq and-se"),
            ("Session expired", "Session expired"),
            (" a \"b\" c\\d\u{e9}\u{202e}\r\n", "a b cd"),
            ("100%", "100%"),
        ] {
            assert_eq!(secrets.shown(text, &["new-token"]).as_deref(), Some(shown), "{text}");
        }
        let long = "x".repeat(60) + "R1/opaque+and-secret";
        assert_eq!(secrets.shown(&long, &[]), None, "cut by the limit");
        assert_eq!(secrets.shown("\r\n\u{e9}", &[]), None);
    }

    #[test]
    fn d58_a_secret_is_compared_without_the_characters_that_are_not_shown() {
        let secrets =
            Secrets::new([r#"ab"cdefg"hi\jk"#, "p\u{e4}ssw\u{f6}rd-geh\u{e9}im", "correct horse battery"]);
        for text in [
            r#"ab"cdefg"hi\jk"#,
            "abcdefghi",
            "p\u{e4}ssw\u{f6}rd-geh\u{e9}im",
            "p%C3%A4ssw%C3%B6rd-geh%C3%A9im",
            // As a form has it.
            "correct+horse+battery",
            "c o r%7 2e\r\nct%20%68or se",
        ] {
            assert_eq!(secrets.shown(text, &[]), None, "{text}");
        }
        let secrets = Secrets::new(["a+b/cd+ef/gh+i="]);
        for text in ["a+b/cd+ef/gh+i=", "a b/cd ef/gh i=", "a%2Bb%2Fcd%2Bef%2Fgh"] {
            assert_eq!(secrets.shown(text, &[]), None, "{text}");
        }
    }

    #[test]
    fn d58_each_value_of_a_request_that_may_be_secret_is_compared() {
        let secrets = Secrets::default();
        let mut basic = http::HeaderValue::from_static("Basic d2ViOmNsaWVudCUyRHNlY3JldA==");
        basic.set_sensitive(true);
        let form = "grant_type=refresh_token&client_id=my-web-client&client_assertion=an-assertion&pin=a%2Dsecret-pin";
        let request = Request::post("https://a.example.com/?key=query-key")
            .header(header::AUTHORIZATION, basic)
            .header(header::CONTENT_TYPE, FORM)
            .body(Bytes::from_static(form.as_bytes()))
            .unwrap();
        secrets.sent(&request);
        for text in ["d2ViOmNsaWVudCU", "client-secret", "an-assertion", "a-secret-pin", "query-key"] {
            assert_eq!(secrets.shown(text, &[]), None, "{text}");
        }
        for text in ["bad_refresh_token", "my-web-client"] {
            assert_eq!(secrets.shown(text, &[]).as_deref(), Some(text));
        }
        let json = r#"{"grant_type":"refresh_token","login":{"pins":["a-secret-pin"]}}"#;
        secrets.sent(
            &Request::post("https://a.example.com/").body(Bytes::from_static(json.as_bytes())).unwrap(),
        );
        assert_eq!(secrets.shown("a-secret-pin", &[]), None);
        assert!(secrets.shown("bad_refresh_token", &[]).is_some());
    }
}
