//! The one claim of a JWT (RFC 7519) that a client may read: when it ends.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::members::Members;

/// Padding isn't allowed there (RFC 7515 §2), and sent all the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `exp` of a JWT, in seconds since 1970. The signature isn't looked at.
pub(super) fn exp(token: &str) -> Option<f64> {
    let mut parts = token.split('.');
    let (_header, payload) = (parts.next()?, parts.next()?);
    parts.next()?;
    let claims = Zeroizing::new(BASE64.decode(payload).ok()?);
    let claims = std::str::from_utf8(&claims).ok()?;
    Members::try_new(claims).ok()?.get("exp")?.number()
}
