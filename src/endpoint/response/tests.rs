//! Properties of the parser.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::endpoint::shown::Secrets;

fn format() -> ResponseFormat {
    ResponseFormat {
        access_token: "access_token".into(),
        refresh_token: "refresh_token".into(),
        lifetime: Lifetime::seconds("expires_in"),
        refresh_token_lifetime: None,
        scheme: None,
        code: None,
        scopes: vec!["read".into(), "write".into()],
    }
}

/// Formats that together use every kind of field.
fn formats() -> Vec<ResponseFormat> {
    let format = format();
    vec![
        ResponseFormat { lifetime: Lifetime::jwt_exp(), ..format.clone() },
        ResponseFormat { lifetime: Lifetime::unix_time("expires_in"), ..format.clone() },
        ResponseFormat {
            lifetime: Lifetime::milliseconds("/a/expires_in"),
            access_token: "/a/b".into(),
            ..format.clone()
        },
        ResponseFormat { scheme: Some("Own".into()), code: Some("/error/0/code".into()), ..format.clone() },
        format,
    ]
}

/// What a response means.
#[derive(Debug)]
enum Parsed {
    Token(Token),
    Error(Vec<String>),
    /// With the type, if it isn't supported.
    Unusable(Option<String>),
    Malformed(Malformed),
}

fn parse_as(format: &ResponseFormat, status: u16, body: impl AsRef<[u8]>) -> Parsed {
    let (status, mut body) = (StatusCode::from_u16(status).unwrap(), body.as_ref().to_vec());
    match format.parse(status, &mut body, &ErrorClassifier::new(), SystemTime::UNIX_EPOCH).meaning {
        Meaning::Token(builder) => builder.build().map_or(Parsed::Unusable(None), Parsed::Token),
        Meaning::Error(found) => Parsed::Error(found.codes.into_iter().map(Into::into).collect()),
        Meaning::Unusable(TokenFlaw::UnsupportedType(name)) => Parsed::Unusable(Some(name.into())),
        Meaning::Unusable(_) => Parsed::Unusable(None),
        Meaning::Malformed(malformed) => Parsed::Malformed(malformed),
    }
}

fn parse(status: u16, body: impl AsRef<[u8]>) -> Parsed {
    parse_as(&format(), status, body)
}

/// Parses it in every format. Whatever comes of it can be printed.
fn parse_in_every_format(body: &[u8]) {
    for format in formats() {
        for status in [200, 400, 500] {
            match parse_as(&format, status, body) {
                Parsed::Token(token) => {
                    assert!(!token.access_token().is_empty());
                    assert!(token.refresh_token().is_none_or(|text| !text.trim_ascii().is_empty()));
                }
                Parsed::Error(codes) => assert!(codes.iter().all(|code| !code.trim_ascii().is_empty())),
                Parsed::Unusable(Some(name)) => {
                    let name = Secrets::default().shown(&name, &[]).unwrap_or_default();
                    assert!(name.len() <= 64 && name.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name:?}");
                }
                _ => {}
            }
        }
    }
}

/// Fragments of responses, valid and invalid.
const FRAGMENTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\u{feff}",
    " ",
    "\n",
    "&",
    "=",
    "%",
    "%7B",
    "+",
    "null",
    "true",
    "-",
    ".",
    "e",
    "1e999",
    "-1e400",
    "0",
    "18446744073709551616",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\\u0000",
    "<html>",
    "\"access_token\":",
    "\"access_token\":\"A2\",",
    "\"refresh_token\":\"R2\",",
    "\"expires_in\":",
    "\"token_type\":",
    "\"error\":",
    "\"code\":",
    "\"scope\":\"read\",",
    "access_token=A2",
    "&error=",
    "\"a\":{\"b\":\"A2\"}",
    "\"x.e30.y\"",
];

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(FRAGMENTS), 0..24).prop_map(|fragments| fragments.concat().into_bytes())
}

/// Any JSON value, with numbers and strings of all kinds.
fn json() -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string serialises"));
    let escape = any::<u16>().prop_map(|unit| format!("\"\\u{unit:04x}\""));
    let number = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?";
    let scalar =
        prop_oneof![select(vec!["null", "true", "false"]).prop_map(str::to_owned), text, escape, number];
    scalar.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name(), inner), 0..8).prop_map(object),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known =
        ["access_token", "refresh_token", "expires_in", "token_type", "scope", "error", "code", "a", "b"];
    prop_oneof![select(known.map(str::to_owned).to_vec()), any::<String>()]
}

fn object(fields: Vec<(String, String)>) -> String {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            format!("{}:{value}", serde_json::to_string(&name).expect("a string serialises"))
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
        parse_in_every_format(&body);
    }

    #[test]
    fn any_fragments_are_parsed_without_a_panic(body in fragments()) {
        parse_in_every_format(&body);
    }

    #[test]
    fn any_json_is_parsed_without_a_panic(fields in prop::collection::vec((name(), json()), 0..12)) {
        let body = object(fields);
        parse_in_every_format(body.as_bytes());
        prop_assert!(!matches!(parse(200, &body), Parsed::Malformed(_)), "{}", body);
    }

    #[test]
    fn any_lifetime_yields_a_token(lifetime in json()) {
        let body = format!(r#"{{"access_token":"A2","expires_in":{lifetime}}}"#);
        prop_assert!(matches!(parse(200, &body), Parsed::Token(_)), "{}", body);
    }

    #[test]
    fn a_body_truncated_anywhere_is_recognised(
        fields in prop::collection::vec((name(), json()), 0..6), cut in any::<prop::sample::Index>(),
    ) {
        let body = object(fields);
        let cut = &body.as_bytes()[..cut.index(body.len() - 1) + 1];
        let response = parse(200, cut);
        prop_assert!(matches!(response, Parsed::Malformed(Malformed::Truncated)), "{:?} {:?}", body, response);
        // An error response needs no body.
        prop_assert!(matches!(parse(400, cut), Parsed::Error(codes) if codes.is_empty()));
    }

    #[test]
    fn invalid_bytes_in_a_message_hide_nothing(message in prop::collection::vec(any::<u8>(), 0..64)) {
        let message: Vec<u8> = message.into_iter().filter(|b| *b >= b' ' && *b != b'"' && *b != b'\\').collect();
        let around = |before: &str, after: &str| [before.as_bytes(), &message, after.as_bytes()].concat();
        let response = parse(200, around(r#"{"m":""#, r#"","access_token":"A2"}"#));
        prop_assert!(matches!(response, Parsed::Token(token) if token.access_token() == "A2"));
        let response = parse(400, around(r#"{"error":"invalid_grant","m":""#, r#""}"#));
        prop_assert!(matches!(response, Parsed::Error(codes) if codes[0] == "invalid_grant"));
    }

    #[test]
    fn a_token_is_unchanged_or_missing(text in prop::collection::vec(any::<u8>(), 1..40)) {
        let text: Vec<u8> = text.into_iter().filter(|b| *b >= b' ' && *b != b'"' && *b != b'\\').collect();
        let body = [br#"{"access_token":""#, &text[..], br#""}"#].concat();
        if let Parsed::Token(token) = parse(200, body) {
            prop_assert_eq!(token.access_token().as_bytes(), text.trim_ascii());
            prop_assert!(!text.trim_ascii().contains(&b' '));
        }
    }
}

#[test]
fn c97_deep_nesting_is_parsed_without_a_panic() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"error":"#, "}"), (r#"[{"a":["#, "]}]")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let body = format!(r#"{{"access_token":"A2","x":{deep},"expires_in":{deep}}}"#);
        assert!(matches!(parse(200, &body), Parsed::Token(_)), "{open}");
        assert!(
            matches!(parse(400, format!(r#"{{"error":{deep}}}"#)), Parsed::Error(codes) if codes.is_empty()),
            "{open}"
        );
        parse_in_every_format(&body.as_bytes()[..100_000]);
    }
}

#[test]
fn c52_unpaired_surrogates_hide_nothing() {
    let body = r#"{"hint":"\ud83d","access_token":"A2","refresh_token":"\udc00"}"#;
    assert!(matches!(parse(200, body), Parsed::Token(token) if token.refresh_token().is_none()));
    assert!(matches!(parse(200, r#"{"access_token":"\ud800"}"#), Parsed::Unusable(None)));
    assert!(
        matches!(parse(400, r#"{"error_description":"\ud800","error":"x"}"#), Parsed::Error(codes) if codes.len() == 1)
    );
}

#[test]
fn c97_only_some_of_many_fields_are_kept() {
    let many: String = (0..1000).map(|n| format!(r#""m{n}":"v{n}","#)).collect();
    let Parsed::Token(token) = parse(200, format!(r#"{{{many}"access_token":"A2"}}"#)) else {
        panic!("a token")
    };
    let kept: Vec<_> = (0..1000).filter(|n| token.extra(&format!("m{n}")).is_some()).collect();
    assert_eq!(kept, (0..32).collect::<Vec<_>>());
}

#[test]
fn c52_codes_are_searched_in_order() {
    let format = ResponseFormat { code: Some("/a/b".into()), ..format() };
    for (body, expected) in [
        (r#"{"code":"3","error":"2","a":{"b":"1"}}"#, Some("1")),
        (r#"{"code":"3","error":"2","a":{}}"#, Some("2")),
        (r#"{"code":"3","error":""}"#, None),
    ] {
        let response = parse_as(&format, 400, body);
        assert!(
            matches!(&response, Parsed::Error(codes) if codes.first().map(String::as_str) == expected),
            "{body}: {response:?}"
        );
    }
    for (body, expected) in [
        (r#"{"code":"3","error":""}"#, Some("3")),
        (r#"{"code":7}"#, Some("7")),
        (r#"{"code":true}"#, None),
        (r#"{"errors":[{"errorType":"8"}]}"#, Some("8")),
    ] {
        let response = parse(400, body);
        assert!(
            matches!(&response, Parsed::Error(codes) if codes.first().map(String::as_str) == expected),
            "{body}: {response:?}"
        );
    }
}

#[test]
fn d45_a_code_that_means_success_is_not_an_error() {
    let tokens = r#""access_token":"A2","token_type":"Bearer""#;
    for field in [
        r#""error":{"code":"ok"}"#,
        r#""error":{"code":0,"message":"done"}"#,
        r#""error":"""#,
        r#""error":"Success""#,
        r#""error":{}"#,
        r#""error":"200""#,
        r#""code":200"#,
        r#""code":"0""#,
        r#""code":"0000""#,
    ] {
        let response = parse(200, format!("{{{field},{tokens}}}"));
        assert!(matches!(response, Parsed::Token(_)), "{field}: {response:?}");
    }
    for field in
        [r#""error":"201""#, r#""error":{"message":"x"}"#, r#""error":true"#, r#""code":"invalid_grant""#]
    {
        let response = parse(200, format!("{{{field},{tokens}}}"));
        assert!(matches!(response, Parsed::Error(_)), "{field}: {response:?}");
    }
    // With another status the codes of success are no codes.
    let response = parse(400, r#"{"error":"ok","code":"5"}"#);
    assert!(matches!(&response, Parsed::Error(codes) if codes == &["5"]), "{response:?}");
}

/// Only texts with escapes are copied.
#[test]
fn copies_of_codes_are_bounded() {
    let code = |text: &str| match parse(400, format!(r#"{{"error":"{text}"}}"#)) {
        Parsed::Error(codes) => codes[0].len(),
        parsed => panic!("{parsed:?}"),
    };
    assert_eq!(code(&format!(r"\u0061{}", "a".repeat(1023))), 1024);
    assert_eq!(code(&format!(r"\u0061{}", "a".repeat(1024))), 1024);
    assert_eq!(code(&format!(r"\u0061{}", "a".repeat(5000))), 1024);
    assert_eq!(code(&"a".repeat(5000)), 5000);
}

#[test]
fn a_code_without_a_token_is_an_error_whatever_the_status() {
    let response = parse(200, r#"{"code":"never_heard_of"}"#);
    assert!(matches!(&response, Parsed::Error(codes) if codes == &["never_heard_of"]), "{response:?}");
    assert!(matches!(parse(200, r#"{"code":"ok"}"#), Parsed::Unusable(None)));
}

#[test]
fn d53_scopes_are_a_list_or_separated_by_commas() {
    let scopes = |format: &ResponseFormat, scope: &str| {
        let body = format!(r#"{{"access_token":"A2","token_type":"Bearer","scope":{scope}}}"#);
        let Parsed::Token(token) = parse_as(format, 200, &body) else { panic!("{body}") };
        let missing = token.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join(";");
        (token.scopes().map(|scopes| scopes.join("|")), missing)
    };
    let requested = format();
    let nothing = ResponseFormat { scopes: Vec::new(), ..format() };
    let granted = |scopes: &str| (Some(scopes.to_owned()), String::new());
    assert_eq!(scopes(&requested, r#"["read"]"#), (Some("read".into()), "scopes not granted: write".into()));
    assert_eq!(scopes(&requested, r#"["write","read",7,null,{}]"#), granted("write|read|7"));
    for text in [
        r#""chat:write,channels:read""#,
        r#"["chat:write","channels:read"]"#,
        r#""chat:write channels:read""#,
    ] {
        assert_eq!(scopes(&nothing, text), granted("chat:write|channels:read"), "{text}");
    }
    assert_eq!(scopes(&requested, r#""read, write""#), granted("read|write"));
    assert_eq!(scopes(&nothing, r#""a,b c""#), granted("a,b|c"), "spaces take precedence");
    for (requested, missing) in [("write", ""), ("other", "scopes not granted: other")] {
        let requested = ResponseFormat { scopes: vec![requested.into()], ..format() };
        assert_eq!(scopes(&requested, r#""a,b write""#), (Some("a,b|write".into()), missing.into()));
    }
    let with_comma = ResponseFormat { scopes: vec!["a,b".into()], ..format() };
    assert_eq!(scopes(&with_comma, r#""a,b""#), granted("a,b"));
    for none in [r#""""#, "[]", "{}", "true", "null"] {
        assert_eq!(scopes(&requested, none), (None, String::new()), "{none}");
    }
}

#[test]
fn d60_no_more_scopes_are_kept_than_extras() {
    let many: Vec<_> = (0..1000).map(|n| format!("s{n}")).collect();
    let long = "x".repeat(2000);
    let body = format!(r#"{{"access_token":"A2","scope":"{} {long} write read"}}"#, many.join(" "));
    let Parsed::Token(token) = parse(200, &body) else { panic!("a token") };
    assert_eq!(token.scopes().unwrap(), &many[..32]);
    assert!(!token.warnings().iter().any(|warning| warning.to_string().contains("not granted")));
}
