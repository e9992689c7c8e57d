//! What holds for any body.

use proptest::{prelude::*, sample::select};

use super::*;

fn shape() -> Shape {
    Shape {
        access_token: "access_token".into(),
        refresh_token: "refresh_token".into(),
        lifetime: Lifetime::seconds("expires_in"),
        scheme: None,
        codes: vec!["error".into()],
        scopes: vec!["read".into(), "write".into()],
    }
}

/// Shapes that look in each place there is.
fn shapes() -> Vec<Shape> {
    let shape = shape();
    vec![
        Shape { lifetime: Lifetime::jwt_exp(), ..shape.clone() },
        Shape { lifetime: Lifetime::unix_time("expires_in"), ..shape.clone() },
        Shape {
            lifetime: Lifetime::milliseconds("/a/expires_in"),
            access_token: "/a/b".into(),
            ..shape.clone()
        },
        Shape {
            scheme: Some("Own".into()),
            codes: vec!["/error/code".into(), "code".into()],
            ..shape.clone()
        },
        shape,
    ]
}

fn read(status: u16, body: impl AsRef<[u8]>) -> Answer {
    shape().read(StatusCode::from_u16(status).unwrap(), &mut body.as_ref().to_vec())
}

/// Reads it in each way; whatever comes of it is fit to be printed.
fn read_in_each_way(body: &[u8]) {
    for shape in shapes() {
        for status in [200, 400, 500] {
            let answer = shape.read(StatusCode::from_u16(status).unwrap(), &mut body.to_vec());
            match answer {
                Answer::Token(token) => {
                    assert!(!token.access_token().is_empty());
                    assert!(token.refresh_token().is_none_or(|text| !text.trim_ascii().is_empty()));
                }
                Answer::Error(codes) => assert!(codes.iter().all(|code| !code.trim_ascii().is_empty())),
                Answer::Unusable(Flaw::OfAnotherType(name), _) => {
                    let name = shown(&name);
                    assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
                }
                _ => {}
            }
        }
    }
}

/// Pieces of answers, right and wrong.
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
    prop::collection::vec(select(FRAGMENTS), 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Any JSON value, with numbers and texts of all kinds.
fn json() -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).expect("it is a text"));
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

fn object(members: Vec<(String, String)>) -> String {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| format!("{}:{value}", serde_json::to_string(&name).expect("it is a text")))
        .collect();
    format!("{{{}}}", members.join(","))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
        read_in_each_way(&body);
    }

    #[test]
    fn any_pieces_of_answers_are_read_without_a_panic(body in fragments()) {
        read_in_each_way(&body);
    }

    #[test]
    fn any_json_is_read_without_a_panic(members in prop::collection::vec((name(), json()), 0..12)) {
        let body = object(members);
        read_in_each_way(body.as_bytes());
        prop_assert!(!matches!(read(200, &body), Answer::Unreadable(_)), "{}", body);
    }

    #[test]
    fn any_life_gives_a_token(life in json()) {
        let body = format!(r#"{{"access_token":"A2","expires_in":{life}}}"#);
        prop_assert!(matches!(read(200, &body), Answer::Token(_)), "{}", body);
    }

    #[test]
    fn one_that_is_cut_anywhere_is_known_to_be_cut(
        members in prop::collection::vec((name(), json()), 0..6), cut in any::<prop::sample::Index>(),
    ) {
        let body = object(members);
        let cut = &body.as_bytes()[..cut.index(body.len() - 1) + 1];
        let answer = read(200, cut);
        prop_assert!(matches!(answer, Answer::Unreadable(Malformed::Truncated)), "{:?} {:?}", body, answer);
        // Of a refusal nothing is missed.
        prop_assert!(matches!(read(400, cut), Answer::Error(codes) if codes.is_empty()));
    }

    #[test]
    fn wrong_bytes_in_a_message_hide_nothing(message in prop::collection::vec(any::<u8>(), 0..64)) {
        let message: Vec<u8> = message.into_iter().filter(|b| *b >= b' ' && *b != b'"' && *b != b'\\').collect();
        let around = |before: &str, after: &str| [before.as_bytes(), &message, after.as_bytes()].concat();
        let answer = read(200, around(r#"{"m":""#, r#"","access_token":"A2"}"#));
        prop_assert!(matches!(answer, Answer::Token(token) if token.access_token() == "A2"));
        let answer = read(400, around(r#"{"error":"invalid_grant","m":""#, r#""}"#));
        prop_assert!(matches!(answer, Answer::Error(codes) if codes[0].as_str() == "invalid_grant"));
    }

    #[test]
    fn a_token_is_given_as_it_came_or_not_at_all(text in prop::collection::vec(any::<u8>(), 1..40)) {
        let text: Vec<u8> = text.into_iter().filter(|b| *b >= b' ' && *b != b'"' && *b != b'\\').collect();
        let body = [br#"{"access_token":""#, &text[..], br#""}"#].concat();
        if let Answer::Token(token) = read(200, body) {
            prop_assert_eq!(token.access_token().as_bytes(), text.trim_ascii());
        }
    }
}

#[test]
fn c97_deep_nesting_is_read_without_a_panic() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"error":"#, "}"), (r#"[{"a":["#, "]}]")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let body = format!(r#"{{"access_token":"A2","x":{deep},"expires_in":{deep}}}"#);
        assert!(matches!(read(200, &body), Answer::Token(_)), "{open}");
        assert!(
            matches!(read(400, format!(r#"{{"error":{deep}}}"#)), Answer::Error(codes) if codes.is_empty()),
            "{open}"
        );
        read_in_each_way(&body.as_bytes()[..100_000]);
    }
}

#[test]
fn c52_unpaired_surrogates_hide_nothing() {
    let body = r#"{"hint":"\ud83d","access_token":"A2","refresh_token":"\udc00"}"#;
    assert!(matches!(read(200, body), Answer::Token(token) if token.refresh_token().is_none()));
    assert!(matches!(read(200, r#"{"access_token":"\ud800"}"#), Answer::Unusable(Flaw::Missing, None)));
    assert!(
        matches!(read(400, r#"{"error_description":"\ud800","error":"x"}"#), Answer::Error(codes) if codes.len() == 1)
    );
}

#[test]
fn c97_of_a_crowd_of_members_some_are_kept() {
    let crowd: String = (0..1000).map(|n| format!(r#""m{n}":"v{n}","#)).collect();
    let Answer::Token(token) = read(200, format!(r#"{{{crowd}"access_token":"A2"}}"#)) else {
        panic!("a token")
    };
    let kept: Vec<_> = (0..1000).filter(|n| token.extra(&format!("m{n}")).is_some()).collect();
    assert_eq!(kept, (0..32).collect::<Vec<_>>());
}

#[test]
fn c52_codes_are_looked_for_in_their_order() {
    let shape = Shape { codes: vec!["/a/b".into(), "error".into(), "code".into()], ..shape() };
    for (body, expected) in [
        (r#"{"code":"3","error":"2","a":{"b":"1"}}"#, Some("1")),
        (r#"{"code":"3","error":"2","a":{}}"#, Some("2")),
        (r#"{"code":"3","error":""}"#, Some("3")),
        (r#"{"code":7}"#, Some("7")),
        (r#"{"code":true}"#, None),
    ] {
        let answer = shape.read(StatusCode::BAD_REQUEST, &mut body.as_bytes().to_vec());
        assert!(
            matches!(&answer, Answer::Error(codes) if codes.first().map(|code| code.as_str()) == expected),
            "{body}: {answer:?}"
        );
    }
}
