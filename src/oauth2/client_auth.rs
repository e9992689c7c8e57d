//! How a client shows who it is (RFC 6749 §2.3).

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use super::form::{ENCODED, Form};
use crate::error::BoxError;
use crate::token::Secret;

#[derive(Clone)]
pub(super) enum ClientAuth {
    /// A public client: it says its name, and proves nothing.
    None,
    SecretBasic(Secret),
    SecretPost(Secret),
    /// RFC 7521 §4.2, with an assertion made for each request.
    Assertion(Arc<dyn Fn() -> Result<String, BoxError> + Send + Sync>),
}

// === impl ClientAuth ===

impl ClientAuth {
    /// Adds to one request what shows who the client is. Called anew for each sending.
    pub(super) fn put_on(
        &self,
        client_id: &str,
        headers: &mut HeaderMap,
        form: &mut Form,
    ) -> Result<(), BoxError> {
        match self {
            Self::None => form.add("client_id", client_id),
            Self::SecretBasic(secret) => {
                headers.insert(header::AUTHORIZATION, basic(client_id, secret.expose())?);
            }
            Self::SecretPost(secret) => {
                form.add("client_id", client_id);
                form.add("client_secret", secret.expose());
            }
            Self::Assertion(make) => {
                form.add("client_id", client_id);
                form.add("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                form.add("client_assertion", &Zeroizing::new(make()?));
            }
        }
        Ok(())
    }
}

/// RFC 6749 §2.3.1: both are form-encoded before they are joined, so that neither can hold a colon.
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, BoxError> {
    // Sized at once: a buffer that grows leaves unwiped copies behind.
    let mut pair = Zeroizing::new(String::with_capacity(ENCODED * (client_id.len() + secret.len()) + 1));
    pair.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
    let mut value = Zeroizing::new(vec![0; SCHEME.len() + pair.len().div_ceil(3) * 4]);
    value[..SCHEME.len()].copy_from_slice(SCHEME);
    let encoded = STANDARD.encode_slice(pair.as_bytes(), &mut value[SCHEME.len()..]);
    encoded.expect("four bytes for each three, begun or whole");
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value))?;
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

const SCHEME: &[u8] = b"Basic ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_form_encoded_first() {
        // Id and secret of RFC 6749 §2.3.1's rule: blank, colon, plus, percent, a letter beyond ASCII.
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
