//! The expiry of a JWT (RFC 7519).

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::fields::Fields;

/// RFC 7515 §2 forbids padding, but some servers send it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `exp` claim, a Unix timestamp. The signature isn't verified.
pub(super) fn exp(token: &str) -> Option<f64> {
    let mut parts = token.split('.');
    let (_header, payload) = (parts.next()?, parts.next()?);
    parts.next()?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let claims = Zeroizing::new(BASE64.decode(payload).ok()?);
    let claims = std::str::from_utf8(&claims).ok()?;
    Fields::try_new(claims).ok()?.get("exp")?.number()
}

/// More than any header carries. Bounds the memory of the decoded claims.
const MAX_PAYLOAD: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn exp_of(claims: impl AsRef<[u8]>) -> Option<f64> {
        exp(&format!("e30.{}.sig", BASE64.encode(claims)))
    }

    #[test]
    fn a_jwts_expiry_is_read_with_and_without_padding() {
        assert_eq!(exp_of(r#"{"exp":1300819380}"#), Some(1_300_819_380.0));
        assert_eq!(exp_of(r#"{"exp":"1300819380.5"}"#), Some(1_300_819_380.5));
        // The example of RFC 7519 §3.1, without its signature.
        let claims =
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        for padding in ["", "=="] {
            assert_eq!(exp(&format!("eyJ0eXAiOiJKV1QifQ.{claims}{padding}.")), Some(1_300_819_380.0));
        }
        // Characters that differ from the standard alphabet.
        assert_eq!(exp("e30.eyJ4IjoiPz8_Pj4-IiwiZXhwIjo1fQ.sig"), Some(5.0));
    }

    #[test]
    fn the_largest_payload_is_read() {
        // 48 KiB are 64 KiB in base64.
        let claims = |spaces: usize| format!("{{\"exp\":5{}}}", " ".repeat(spaces));
        let largest = MAX_PAYLOAD / 4 * 3 - claims(0).len();
        assert_eq!(exp_of(claims(largest)), Some(5.0));
        assert_eq!(exp_of(claims(largest + 1)), None);
    }

    #[test]
    fn other_tokens_have_no_expiry() {
        for token in
            ["", "opaque", "a.b", "e30.e30", "e30.e30.", "...", "e30.%%%.x", "e30.bnVsbA.x", "e30.W10.x"]
        {
            assert_eq!(exp(token), None, "{token}");
        }
        for claims in ["{}", r#"{"exp":null}"#, r#"{"exp":"soon"}"#, r#"{"exp":[5]}"#, r#"{"exp":5"#, "[5]"] {
            assert_eq!(exp_of(claims), None, "{claims}");
        }
        assert_eq!(exp_of(b"\xff\xfe"), None);
        assert_eq!(exp("e30.eyJleHAiOjV9"), None, "a JWT has three parts");
        let padded = |length: usize| exp_of(format!("{}{}", r#"{"exp":5}"#, " ".repeat(length)));
        assert_eq!((padded(48_000), padded(50_000)), (Some(5.0), None));
    }
}
