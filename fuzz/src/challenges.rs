//! Challenges in `WWW-Authenticate` fields.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use tower_reauth::challenge::{Challenge, Challenges};

/// Challenges are parts of their fields, stay within the limits, and are read alike when they are written as the grammar
/// defines.
///
/// Each line of the input is a field.
pub fn challenges(input: &[u8]) {
    let fields: Vec<HeaderValue> =
        input.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let text =
        fields.iter().map(|field| String::from_utf8_lossy(field.as_bytes())).collect::<Vec<_>>().join("\n");
    let read = parse(&fields);
    assert!(read.iter().count() <= 64);
    assert!(
        !(read.is_step_up() && read.is_use_dpop_nonce() && read.find("bearer").is_some())
            || text.contains(',')
    );
    for challenge in &read {
        let params: Vec<_> = challenge.params().collect();
        assert!(params.len() <= 64);
        assert!(!challenge.scheme().is_empty() || !params.is_empty());
        assert!(text.contains(challenge.scheme()));
        assert!(challenge.token68().is_none_or(|token68| text.contains(token68)));
        for (name, value) in params {
            assert!(!name.is_empty() && text.contains(name));
            assert!(text.contains('\\') || text.contains(value));
            assert!(challenge.param(&name.to_ascii_uppercase()).is_some());
        }
    }

    // The limits are those of a field, so each challenge gets one.
    let conforming = read.iter().all(|challenge| {
        !challenge.scheme().is_empty() && (challenge.token68().is_none() || challenge.params().count() == 0)
    });
    let written = |value: fn(&str) -> &str| -> Vec<HeaderValue> {
        let field = |challenge| HeaderValue::from_bytes(write(challenge, value).as_bytes());
        read.iter().map(|challenge| field(challenge).expect("a field's parts are valid in a field")).collect()
    };
    let again = written(|value| value);
    if !conforming || again.iter().any(|field| field.len() > 16 * 1024) {
        return;
    }
    let again = parse(&again);
    assert!(!again.is_unreadable());
    assert!(again.iter().eq(read.iter()), "{again:?}, not {read:?}");

    // Only schemes and counts are shown.
    let blank = parse(&written(|_| "x"));
    let shown = |challenges: &Challenges| format!("{:?}", challenges.iter().collect::<Vec<_>>());
    assert_eq!(shown(&blank), shown(&read));
    assert!(format!("{read:?}").len() < 1000);
}

fn parse(fields: &[HeaderValue]) -> Challenges {
    let headers: HeaderMap = fields.iter().map(|field| (WWW_AUTHENTICATE, field.clone())).collect();
    Challenges::from_headers(&headers)
}

/// Writes a challenge as the grammar defines (RFC 9110 §11.2).
fn write(challenge: &Challenge, value: fn(&str) -> &str) -> String {
    let params = challenge.params().map(|(name, text)| {
        let text = value(text).replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{text}\"")
    });
    let rest = challenge
        .token68()
        .map_or_else(|| params.collect::<Vec<_>>().join(", "), |token| value(token).to_owned());
    if rest.is_empty() { challenge.scheme().to_owned() } else { format!("{} {rest}", challenge.scheme()) }
}
