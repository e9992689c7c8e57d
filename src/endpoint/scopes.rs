//! The scopes of a response.

use super::fields::Value;

/// The scopes that a response grants.
pub(super) struct Granted {
    /// Some of them, as a server may send any number.
    pub(super) kept: Vec<String>,
    /// Those that were requested, but not granted.
    pub(super) missing: Vec<String>,
}

// === impl Granted ===

impl Granted {
    /// Reads a list, or a string of scopes separated by spaces (RFC 6749 §3.3) or commas. `None`: there are none.
    pub(super) fn read(scope: Value<'_>, requested: &[String]) -> Option<Self> {
        let mut any = false;
        let mut this = Self { kept: Vec::new(), missing: requested.to_vec() };
        let is_list = matches!(scope, Value::Array(_));
        scope.texts(|text| {
            any = true;
            if !is_list && is_by_commas(text, requested) {
                this.add_all(by_commas(text));
            } else {
                this.add_all(text.split_ascii_whitespace());
            }
        });
        any.then_some(this)
    }

    fn add_all<'s>(&mut self, scopes: impl Iterator<Item = &'s str>) {
        for scope in scopes {
            self.missing.retain(|missing| missing != scope);
            if self.kept.len() < MAX_SCOPES && scope.len() <= MAX_SCOPE_LEN {
                self.kept.push(scope.to_owned());
            }
        }
    }
}

/// A scope may contain a comma, too, so what was requested decides, or that there are no spaces.
fn is_by_commas(text: &str, requested: &[String]) -> bool {
    let is_by_spaces = |requested: &String| text.split_ascii_whitespace().any(|scope| scope == requested);
    let mut has_commas = requested.iter().filter(|requested| requested.contains(','));
    match has_commas.next() {
        None if !text.trim().contains(|c: char| c.is_ascii_whitespace()) => true,
        _ => requested
            .iter()
            .any(|requested| !is_by_spaces(requested) && by_commas(text).any(|scope| scope == requested)),
    }
}

fn by_commas(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty())
}

/// As many as extras are kept.
const MAX_SCOPES: usize = super::response::MAX_EXTRAS;

const MAX_SCOPE_LEN: usize = 1024;
