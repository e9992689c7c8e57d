//! What the requests of `oauth2` and `json` share.

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use zeroize::Zeroizing;

use super::per_call::PerCall;
use crate::{
    error::BoxError,
    refresh::{RefreshContext, RefreshError},
};

/// Headers whose values are made for each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadersPerCall {
    makers: Vec<(HeaderName, PerCall<HeaderValue>)>,
}

// === impl HeadersPerCall ===

impl HeadersPerCall {
    pub(crate) fn add<F, Fut>(&mut self, name: HeaderName, make: F)
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderValue, RefreshError>> + Send + 'static,
    {
        self.makers.push((name, PerCall::new(make, sensitive)));
    }

    /// Adds the headers of a call to `headers`.
    pub(crate) async fn make(
        &self,
        cx: &RefreshContext,
        headers: &mut HeaderMap,
    ) -> Result<(), RefreshError> {
        for (name, maker) in &self.makers {
            headers.append(name, maker.make(cx).await?);
        }
        Ok(())
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A header value from a secret.
#[cfg(feature = "json")]
pub(crate) fn secret_header(value: String) -> Result<HeaderValue, BoxError> {
    let bytes = Bytes::from_owner(Zeroizing::new(value));
    Ok(sensitive(HeaderValue::from_maybe_shared(bytes)?))
}

/// Adds parameters to a URI's query, except those that it has: a redirect's target may have them already.
#[cfg(feature = "json")]
pub(crate) fn with_query<'a>(
    uri: &Uri,
    params: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Uri, BoxError> {
    let query = uri.query().unwrap_or_default();
    let has = |name: &str| form_urlencoded::parse(query.as_bytes()).any(|(known, _)| known == name);
    let mut added = Serializer::new(String::new());
    added.extend_pairs(params.filter(|(name, _)| !has(name)));
    let added = Zeroizing::new(added.finish());
    if added.is_empty() {
        return Ok(uri.clone());
    }
    let separator = if query.is_empty() { "" } else { "&" };
    let path_and_query = Zeroizing::new(format!("{}?{query}{separator}{}", uri.path(), *added));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.parse()?);
    Ok(Uri::from_parts(parts)?)
}
