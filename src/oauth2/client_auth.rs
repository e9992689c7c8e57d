//! Client authentication (RFC 6749 §2.3).

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use crate::{error::BoxError, token::Secret};

#[derive(Clone)]
pub(super) enum ClientAuth {
    /// A public client.
    None,
    SecretBasic(Secret),
    SecretPost(Secret),
    /// RFC 7521 §4.2, with a new assertion for each request.
    Assertion(Arc<dyn Fn() -> Result<String, BoxError> + Send + Sync>),
}

// === impl ClientAuth ===

impl ClientAuth {
    /// Adds the client's credentials to a request, parameters by `add`. Called again for each attempt.
    pub(super) fn authenticate(
        &self,
        client_id: &str,
        headers: &mut HeaderMap,
        mut add: impl FnMut(&str, &str),
    ) -> Result<(), BoxError> {
        match self {
            // The grant's own assertion may identify the client (RFC 7521 §4.1).
            Self::None if client_id.is_empty() => {}
            Self::None => add("client_id", client_id),
            Self::SecretBasic(secret) => {
                headers.insert(header::AUTHORIZATION, basic(client_id, secret.expose())?);
            }
            Self::SecretPost(secret) => {
                add("client_id", client_id);
                add("client_secret", secret.expose());
            }
            Self::Assertion(make) => {
                add("client_id", client_id);
                add("client_assertion_type", ASSERTION_TYPE);
                add("client_assertion", &Zeroizing::new(make()?));
            }
        }
        Ok(())
    }
}

/// RFC 6749 §2.3.1: both are form-encoded before they are joined, so that neither contains a colon.
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, BoxError> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::SecretBasic(_) => "client_secret_basic",
            Self::SecretPost(_) => "client_secret_post",
            Self::Assertion(_) => "private_key_jwt",
        })
    }
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_form_encoded_first() {
        // A space, a colon, a plus, a percent sign, and a letter outside ASCII.
        let value = basic("my client:1", "a+b%c é&=").unwrap();
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = STANDARD.decode(text).unwrap();
        assert_eq!(pair, b"my+client%3A1:a%2Bb%25c+%C3%A9%26%3D");
        assert!(value.is_sensitive());
        // The RFC's own example.
        let value = basic("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw").unwrap();
        assert_eq!(value, "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3");
    }
}
