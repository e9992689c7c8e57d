use super::*;

fn fields(body: &str) -> Fields<'_> {
    Fields::try_new(body).unwrap_or_else(|malformed| panic!("{malformed:?}: {body}"))
}

fn text(body: &str, name: &str) -> Option<String> {
    fields(body).get(name)?.into_text().map(|text| text.to_string())
}

fn scalars(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    fields(body).scalars(|_| true, |name, value| found.push((name.to_owned(), value.into_owned())));
    found
}

fn kind(body: &str) -> &'static str {
    match Fields::try_new(body) {
        Ok(Fields::Json(_)) => "json",
        Ok(Fields::Form(_)) => "form",
        Err(Malformed::Truncated) => "truncated",
        Err(Malformed::Other) => "neither",
    }
}

#[test]
fn c56_c57_json_and_forms_are_recognised_by_their_content() {
    for (body, expected) in [
        ("{}", "json"),
        (" \u{feff}", "neither"),
        ("\u{feff}\r\n {}", "json"),
        ("{} after", "json"),
        ("{a=b}", "neither"),
        ("{\"a\":1", "truncated"),
        ("{", "truncated"),
        ("{\"a\"", "truncated"),
        ("{\"a\":\"\\u00", "truncated"),
        ("{\"a\":1e", "truncated"),
        ("{\"a\":\n-", "truncated"),
        ("{\"a\":1.x", "neither"),
        ("{\"a\":1.}\n-", "neither"),
        ("{\"a\" 1}", "neither"),
        ("{\"a\":1,}", "neither"),
        ("{'a':1}", "neither"),
        ("[{}]", "json"),
        ("[] after", "json"),
        ("[{\"a\":1", "truncated"),
        ("[", "truncated"),
        ("[1,]", "neither"),
        ("[x]", "neither"),
        ("null", "neither"),
        ("", "neither"),
        ("a=b", "form"),
        ("a=", "form"),
        ("access_token=A2&x=%7B%7D\r\n", "form"),
        ("a.b-c_d9=1", "form"),
        ("=b", "neither"),
        ("a", "neither"),
        ("a b=c", "neither"),
        ("a=b c", "neither"),
        ("a=b\nc=d", "neither"),
        ("a=<b>", "neither"),
        ("<p class=\"x\">", "neither"),
        ("caf\u{e9}=1", "neither"),
    ] {
        assert_eq!(kind(body), expected, "{body:?}");
    }
}

#[test]
fn c52_the_last_of_repeated_fields_counts_and_null_is_missing() {
    assert_eq!(text(r#"{"a":"1","a":"2"}"#, "a").unwrap(), "2");
    assert_eq!(text("a=1&b=x&a=2", "a").unwrap(), "2");
    assert_eq!(text(r#"{"a":"1","a":null}"#, "a"), None);
    assert_eq!(text(r#"{"A":"1"}"#, "a"), None);
    assert_eq!(text(r#"{"\u0061":"1"}"#, "a").unwrap(), "1");
    assert_eq!(text(r#"{"b":{"a":"1"}}"#, "a"), None);
    assert_eq!(text(r#"{"":"1"}"#, "").unwrap(), "1");
    assert_eq!(text("x=&%61=1%2B+2", "a").unwrap(), "1+ 2");
}

#[test]
fn a_leading_slash_makes_a_name_a_json_pointer() {
    let body = r#"{"a":{"b":{"c":"1"},"x/y":"2","~":"3","":{"":"4"},"~1":"5"},"/a":"6","l":[1]}"#;
    for (name, expected) in [
        ("/a/b/c", Some("1")),
        ("/a/x~1y", Some("2")),
        ("/a/~0", Some("3")),
        ("/a//", Some("4")),
        ("/a/~01", Some("5")),
        ("/~1a", Some("6")),
        ("a/b", None),
        ("/a/b", None),
        ("/a/b/c/d", None),
        ("/l/0", Some("1")),
        ("/x", None),
        ("/", None),
    ] {
        assert_eq!(text(body, name).as_deref(), expected, "{name}");
    }
    assert_eq!(text("a=1", "/a").unwrap(), "1");
    assert_eq!(text("a=1", "/a/b"), None);
}

#[test]
fn d51_a_path_indexes_into_lists() {
    let body = r#"{"l":[{"a":"0"},["1",["2"]],null],"o":{"0":"3"}}"#;
    for (name, expected) in [
        ("/l/0/a", Some("0")),
        ("/l/1/0", Some("1")),
        ("/l/1/1/0", Some("2")),
        ("/o/0", Some("3")),
        ("/l/2", None),
        ("/l/3", None),
        ("/l/-", None),
        ("/l/00/a", None),
        ("/l/+0/a", None),
        ("/l/a", None),
        ("/l", None),
        ("/l/99999999999999999999999", None),
    ] {
        assert_eq!(text(body, name).as_deref(), expected, "{name}");
    }
}

#[test]
fn escapes_are_decoded() {
    let value = |raw: &str| text(&format!(r#"{{"a":"{raw}"}}"#), "a");
    for (raw, expected) in [
        (r#"\"\\\/\b\f\n\r\t|"#, "\"\\/\u{8}\u{c}\n\r\t|"),
        (r"\u0041\u00e9é\u20AC", "Aéé€"),
        (r"a\ud83d\ude00b", "a\u{1f600}b"),
    ] {
        assert_eq!(value(raw).as_deref(), Some(expected), "{raw}");
    }
    for unpaired in [r"\ud83d", r"\ud83dx", r"\ud83d\n", r"\ude00\ud83d", r"\ud83d\ud83d", r"\ud83d\u0041"] {
        assert_eq!(value(unpaired), None, "{unpaired}");
    }
}

proptest::proptest! {
    #[test]
    fn any_string_is_read_as_it_was_written(string in ".*\\S", escaped in proptest::prelude::any::<bool>()) {
        let mut json = serde_json::to_string(&string).unwrap();
        if escaped {
            let units = string.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            json = format!("\"{}\"", units.collect::<String>());
        }
        proptest::prop_assert_eq!(text(&format!(r#"{{"a":{json}}}"#), "a"), Some(string.clone()));
    }

    #[test]
    fn any_form_is_read_as_by_the_url_standard(pairs in "([a-z%+=&]|%[0-9a-fA-F]{2}){0,20}") {
        let expected: Vec<_> = form_urlencoded::parse(pairs.as_bytes()).into_owned().collect();
        let found: Vec<_> = form_pairs(&pairs).map(|(name, value)| (decoded(name).into_owned(), decoded(value).into_owned())).collect();
        proptest::prop_assert_eq!(found, expected);
    }
}

#[test]
fn c34_numbers_and_strings_are_interchangeable() {
    let number = |value: &str| fields(&format!(r#"{{"a":{value}}}"#)).get("a").unwrap().number();
    for (value, expected) in [
        ("5", Some(5.0)),
        (r#"" +5\t""#, Some(5.0)),
        (r#""-5""#, Some(-5.0)),
        (r#"".5""#, Some(0.5)),
        (r#""5.""#, Some(5.0)),
        ("1e999", Some(f64::INFINITY)),
        ("-1e999", Some(f64::NEG_INFINITY)),
        (r#""inf""#, None),
        (r#""+infinity""#, None),
        (r#""nan""#, None),
        (r#""-nan""#, None),
        (r#""5s""#, None),
        (r#""+-5""#, None),
        (r#""""#, None),
        ("true", None),
        ("[5]", None),
        ("{}", None),
    ] {
        assert_eq!(number(value), expected, "{value}");
    }
    assert_eq!(text(r#"{"a":12345678901234567890123}"#, "a").unwrap(), "12345678901234567890123");
    for empty in [r#""""#, r#"" \t\n""#, "true", "[]", "{}", r#""\ud800""#] {
        assert_eq!(text(&format!(r#"{{"a":{empty}}}"#), "a"), None, "{empty}");
    }
}

#[test]
fn scalars_are_visited_in_order() {
    let body =
        r#"{"s":"1","n":-2.50,"t":true,"f":false,"z":null,"o":{"x":"y"},"l":["y"],"bad":"\udc00","e":""}"#;
    let expected = [("s", "1"), ("n", "-2.50"), ("t", "true"), ("f", "false"), ("e", "")];
    assert_eq!(scalars(body), expected.map(|(name, value)| (name.into(), value.into())));
    assert_eq!(scalars("a=1&b=%20&a=2").len(), 3);
}

#[test]
fn deep_nesting_is_parsed() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let levels = 100_000;
        let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let body = format!(r#"{{"deep":{value},"access_token":"A2"}}"#);
        assert_eq!(text(&body, "access_token").unwrap(), "A2");
        assert!(text(&body, &"/a".repeat(50)).is_none());
        assert_eq!(scalars(&body).len(), 1);
        assert_eq!(kind(&body[..levels]), "truncated");
    }
}
