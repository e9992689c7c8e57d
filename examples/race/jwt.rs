//! A minimal JSON Web Token.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Claims {
    /// Whole seconds since 1970, as most issuers write it.
    exp: u64,
}

/// Makes a token with this expiry (since 1970).
///
/// The signature is random: the server looks the token up among those it issued, and nothing else verifies
/// it.
pub(crate) fn issue(expires_at: Duration) -> String {
    let encode = |json: &[u8]| URL_SAFE_NO_PAD.encode(json);
    let claims =
        serde_json::to_vec(&Claims { exp: expires_at.as_secs() }).expect("a number is serializable as JSON");
    let signature: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
    format!("{}.{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(&claims), encode(&signature))
}

/// The expiry of a token. A client needs no signature check for it: the token comes from the token endpoint.
pub(crate) fn expires_at(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}
