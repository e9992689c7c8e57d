//! What no error may show.

use std::error::Error;

/// A part of every secret that is sent, and of those in the corpus.
pub(crate) const SECRET: &str = "TOPSECRET";

/// The texts of an error and its sources.
pub(crate) fn texts(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

/// Asserts that a text for logs is one line of a limited length that no terminal interprets.
pub(crate) fn assert_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 1000, "{} bytes", text.len());
}

/// Asserts that a text has no secret.
pub(crate) fn assert_no_secret(text: &str) {
    let compared: String = text.chars().filter(|c| !matches!(c, ' ' | '+')).collect();
    assert!(!compared.to_ascii_uppercase().contains(SECRET), "{text}");
}

/// Whether a text contains eight bytes of a secret in a row.
pub(crate) fn has_part_of(text: &str, secret: &str) -> bool {
    let (text, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    secret.as_bytes().windows(8).any(|run| text.as_bytes().windows(8).any(|shown| shown == run))
}
