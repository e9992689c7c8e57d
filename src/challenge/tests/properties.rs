//! Properties of the parser.

use proptest::{prelude::*, sample::select};

use super::*;

const FRAGMENTS: &[&str] = &[
    "Bearer",
    "Basic ",
    "null",
    "Negotiate a+/b==",
    " ",
    "\t",
    ",",
    ", ",
    ";",
    ":",
    "=",
    "==",
    "\"",
    "\", ",
    "'",
    "\\",
    "\u{e9}",
    "a=b",
    "x=\"",
    "realm=\"c\"",
    "error=",
    "\"insufficient_scope\"",
    "invalid_token",
    "error=\"use_dpop_nonce\"",
    "error_description='d e'",
];

/// A challenge and how it is written.
#[derive(Clone, Debug)]
struct Written {
    challenge: Challenge,
    text: String,
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&*+.^_`|~0-9A-Za-z-][!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}"
}

fn space() -> impl Strategy<Value = String> {
    "[ \t]{0,2}"
}

/// A value and how it is written: unquoted, or quoted with redundant escapes.
fn value() -> impl Strategy<Value = (String, String)> {
    let quoted = prop::collection::vec(("[\t -~]", any::<bool>()), 0..12).prop_map(|chars| {
        let value: String = chars.iter().map(|(char, _)| char.as_str()).collect();
        let mut text = String::from("\"");
        for (char, escaped) in &chars {
            if *escaped || char == "\"" || char == "\\" {
                text.push('\\');
            }
            text.push_str(char);
        }
        text.push('"');
        (value, text)
    });
    prop_oneof![token().prop_map(|value| (value.clone(), value)), quoted]
}

fn with_params() -> impl Strategy<Value = Written> {
    let param = (token(), value(), space(), space(), "[ \t]{0,2},[ \t,]{0,2}");
    (token(), prop::collection::vec(param, 0..4)).prop_map(|(scheme, params)| {
        let mut challenge = Challenge::new(&scheme);
        let mut text = scheme;
        for (at, (name, (value, written), before, after, separator)) in params.into_iter().enumerate() {
            text.push_str(if at == 0 { " " } else { &separator });
            text.push_str(&format!("{name}{before}={after}{written}"));
            challenge.params.push((name, value));
        }
        Written { challenge, text }
    })
}

fn with_token68() -> impl Strategy<Value = Written> {
    (token(), "[A-Za-z0-9._~+/-]{1,9}={0,2}").prop_map(|(scheme, token68)| {
        let text = format!("{scheme} {token68}");
        let challenge = Challenge { token68: Some(token68), ..Challenge::new(&scheme) };
        Written { challenge, text }
    })
}

/// Conforming fields, each with some challenges.
fn fields(challenge: impl Strategy<Value = Written>) -> impl Strategy<Value = (Vec<Challenge>, Vec<String>)> {
    let field = prop::collection::vec((challenge, "[ \t]{0,2},[ \t,]{0,2}"), 1..4);
    prop::collection::vec(field, 0..3).prop_map(|fields| {
        let mut challenges = Vec::new();
        let mut texts = Vec::new();
        for field in fields {
            let mut text = String::new();
            for (at, (written, separator)) in field.into_iter().enumerate() {
                if at > 0 {
                    text.push_str(&separator);
                }
                text.push_str(&written.text);
                challenges.push(written.challenge);
            }
            texts.push(text);
        }
        (challenges, texts)
    })
}

fn lenient(text: &str) -> Parser {
    let mut parser = Parser::default();
    parser.lenient(text);
    parser
}

/// What holds for any field.
fn check(field: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(field);
    let challenges = read(&[field]);
    let all: Vec<&Challenge> = challenges.iter().collect();
    prop_assert!(all.len() <= MAX_CHALLENGES);
    for challenge in &all {
        prop_assert!(text.contains(challenge.scheme()));
        prop_assert!(challenge.params.len() <= MAX_PARAMS);
        prop_assert!(!challenge.scheme.is_empty() || !challenge.params.is_empty());
        prop_assert!(challenge.token68().is_none_or(|token68| text.contains(token68)));
        for (name, value) in challenge.params() {
            prop_assert!(!name.is_empty() && text.contains(name));
            prop_assert!(text.contains('\\') || text.contains(value));
        }
    }
    if let Ok(strict) = http_auth::parse_challenges(&text) {
        prop_assert!(!challenges.is_unreadable());
        prop_assert_eq!(all.len(), strict.len());
        for (challenge, strict) in all.iter().zip(&strict) {
            let params = strict.params.iter().map(|(name, value)| ((*name).to_owned(), value.to_unescaped()));
            let same = Challenge { token68: None, params: params.collect(), ..Challenge::new(strict.scheme) };
            prop_assert_eq!(*challenge, &same);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_parsed(field in prop::collection::vec(
        prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8, select(b"\"'=,; \\".as_slice())],
        0..200,
    )) {
        check(&field)?;
    }

    #[test]
    fn any_mixture_of_fragments_is_parsed(fragments in prop::collection::vec(select(FRAGMENTS), 0..24)) {
        check(fragments.concat().as_bytes())?;
    }

    /// So an error in one challenge of a field doesn't change how the others are read.
    #[test]
    fn both_parsers_read_conforming_fields_alike((challenges, texts) in fields(with_params())) {
        prop_assert!(texts.iter().all(|text| http_auth::parse_challenges(text).is_ok()));
        let read = read(&texts);
        prop_assert!(!read.is_unreadable());
        prop_assert_eq!(&*read.all, &*challenges);
        let both = texts.iter().map(|text| lenient(text));
        prop_assert!(both.clone().all(|parser| !parser.unreadable));
        prop_assert_eq!(both.flat_map(|parser| parser.challenges).collect::<Vec<_>>(), challenges);
    }

    #[test]
    fn conforming_challenges_are_parsed_exactly((challenges, texts) in fields(prop_oneof![with_params(), with_token68()])) {
        let read = read(&texts);
        prop_assert!(!read.is_unreadable());
        prop_assert_eq!(&*read.all, &*challenges);
    }
}

/// In quadratic time this would take an hour.
#[test]
fn time_is_linear() {
    let patterns = [
        "'", "\"", "=", ",", " ", ";", "\\", "a", "a ", "a=", "a='", "a=' ", "a='b,", "a=\"", "a=\"\"",
        "a=\" b", "a= ", "' ,", "\" ,", "\",a ", "',a ", "' a", "a=b ", "a b c,", "a=b c ", "a b=,",
        "\u{e9}",
    ];
    for pattern in patterns.iter().chain(FRAGMENTS) {
        for before in ["", "Bearer ", "Bearer a=", "Bearer a='", "Bearer a=\""] {
            let text = format!("{before}{}", pattern.repeat((1 << 17) / pattern.len()));
            assert!(Lexemes::new(&text).count() <= text.len(), "{before} and many {pattern}");
        }
    }
}
