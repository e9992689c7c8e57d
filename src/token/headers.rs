//! The headers that carry a token.

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::panics::catch_panic;

use super::value::Token;

type Value = Arc<dyn Fn(&Token) -> Option<HeaderValue> + Send + Sync>;

/// The headers set by [`SessionBuilder::header`](crate::SessionBuilder::header). If there are none, the token
/// is sent in `Authorization`.
#[derive(Clone, Default)]
pub(crate) struct TokenHeaders {
    names: Vec<HeaderName>,
    values: Vec<Value>,
}

/// The headers that carry a token instead of `Authorization`.
pub(super) type CustomHeaders = Arc<[(HeaderName, HeaderValue)]>;

// === impl TokenHeaders ===

impl TokenHeaders {
    pub(crate) fn push<V: Into<Option<HeaderValue>>>(
        &mut self,
        name: HeaderName,
        value: impl Fn(&Token) -> V + Send + Sync + 'static,
    ) {
        self.names.push(name);
        self.values.push(Arc::new(move |token| value(token).into()));
    }

    /// The names of the headers that carry a token.
    pub(crate) fn names(&self) -> &[HeaderName] {
        if self.names.is_empty() { &[AUTHORIZATION] } else { &self.names }
    }

    /// Computes a token's headers. Calls user code, so it must not be called under a lock.
    pub(crate) fn add_to(&self, token: &mut Token) {
        if self.names.is_empty() {
            return;
        }
        let named = self.names.iter().zip(&self.values);
        let headers = named.filter_map(|(name, value)| {
            let mut value = catch_panic(|| value(token)).flatten()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        });
        let headers = headers.collect();
        token.change_details(|details| details.headers = Some(headers));
    }
}

impl fmt::Debug for TokenHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenHeaders").field(&self.names()).finish()
    }
}
