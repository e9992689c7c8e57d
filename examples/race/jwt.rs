//! As much of JSON Web Tokens as the example needs.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Claims {
    /// Whole seconds since 1970, as most issuers write it.
    exp: u64,
}

/// Makes a token that ends so long after 1970 began.
///
/// In the signature's place stand random bytes: the server compares with what it issued, and nobody else checks it.
pub(crate) fn issue(end: Duration) -> String {
    let encode = |json: &[u8]| URL_SAFE_NO_PAD.encode(json);
    let claims = serde_json::to_vec(&Claims { exp: end.as_secs() }).expect("a number can be written as JSON");
    let signature: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    format!("{}.{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(&claims), encode(&signature))
}

/// When a token ends. The client believes it without a look at the signature: it came from the token endpoint.
pub(crate) fn expires_at(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}
