//! Token requests through a reqwest client.

use reqwest::Body;

use crate::endpoint::RequestBody;

/// As a stream, so that reqwest never repeats a token request for a redirect.
impl From<RequestBody> for Body {
    fn from(body: RequestBody) -> Self {
        Self::wrap(body)
    }
}
