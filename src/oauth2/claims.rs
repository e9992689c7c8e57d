//! Claims challenges, as in Microsoft's continuous access evaluation.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::value::RawValue;

use crate::challenge::Challenges;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// The `claims` of a challenge with the error `insufficient_claims`: a JSON object, in base64 or not.
///
/// Anything else is ignored, as this forwards a server's text to the token endpoint.
pub(super) fn missing_claims(challenges: &Challenges) -> Option<String> {
    let challenge =
        challenges.iter().find(|challenge| challenge.param("error") == Some("insufficient_claims"))?;
    let claims = challenge.param("claims")?;
    let decoded = || STANDARD.decode(claims).or_else(|_| URL_SAFE.decode(claims)).ok();
    let is_object = |text: &String| {
        let json: Result<&RawValue, _> = serde_json::from_str(text);
        json.is_ok_and(|json| json.get().starts_with('{'))
    };
    let text =
        if claims.starts_with('{') { claims.to_owned() } else { String::from_utf8(decoded()?).ok()? };
    Some(text).filter(is_object)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn claims(challenge: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, challenge.parse().unwrap())]);
        missing_claims(&Challenges::from_headers(&headers))
    }

    #[test]
    fn b121_claims_of_a_claims_challenge_are_extracted() {
        let claims_json = r#"{"access_token":{"nbf":{"essential":true, "value":"1604106651"}}}"#;
        for engine in [&STANDARD, &URL_SAFE] {
            let encoded = engine.encode(claims_json);
            let challenge = format!(r#"Bearer realm="", error="insufficient_claims", claims="{encoded}""#);
            assert_eq!(claims(&challenge).as_deref(), Some(claims_json));
        }
        let two = format!(
            r#"Bearer realm="", error="invalid_token", Bearer error="insufficient_claims", claims="{}""#,
            STANDARD.encode(claims_json),
        );
        assert_eq!(claims(&two).as_deref(), Some(claims_json));
    }

    #[test]
    fn b121_malformed_claims_and_other_challenges_are_ignored() {
        let encoded = STANDARD.encode(r#"{"a":1}"#);
        for challenge in [
            format!(r#"Bearer error="invalid_token", claims="{encoded}""#),
            format!(r#"Bearer claims="{encoded}""#),
            r#"Bearer error="insufficient_claims""#.into(),
            r#"Bearer error="insufficient_claims", claims="%%%""#.into(),
            format!(r#"Bearer error="insufficient_claims", claims="{}""#, STANDARD.encode("[1]")),
            format!(r#"Bearer error="insufficient_claims", claims="{}""#, STANDARD.encode([0xff, 0xfe])),
        ] {
            assert_eq!(claims(&challenge), None, "{challenge}");
        }
    }
}
