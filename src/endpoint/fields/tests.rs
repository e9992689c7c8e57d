use super::*;

fn members(body: &str) -> Members<'_> {
    Members::try_new(body).unwrap_or_else(|malformed| panic!("{malformed:?}: {body}"))
}

fn text(body: &str, name: &str) -> Option<String> {
    members(body).get(name)?.into_text().map(|text| text.to_string())
}

fn scalars(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    members(body).scalars(|name, value| found.push((name.to_owned(), value.into_owned())));
    found
}

fn kind(body: &str) -> &'static str {
    match Members::try_new(body) {
        Ok(Members::Json(_)) => "json",
        Ok(Members::Form(_)) => "form",
        Err(Malformed::Truncated) => "truncated",
        Err(Malformed::Other) => "neither",
    }
}

#[test]
fn c56_c57_json_and_forms_are_told_apart_by_their_text() {
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
        ("[{}]", "neither"),
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
fn c52_a_member_is_the_last_of_its_name_and_null_is_none() {
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
fn a_name_that_begins_with_a_slash_is_a_way() {
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
        ("/l/0", None),
        ("/x", None),
        ("/", None),
    ] {
        assert_eq!(text(body, name).as_deref(), expected, "{name}");
    }
    assert_eq!(text("a=1", "/a").unwrap(), "1");
    assert_eq!(text("a=1", "/a/b"), None);
}

#[test]
fn c34_a_number_may_be_a_text_and_a_text_a_number() {
    let number = |value: &str| members(&format!(r#"{{"a":{value}}}"#)).get("a").unwrap().number();
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
    for nothing in [r#""""#, r#"" \t\n""#, "true", "[]", "{}", r#""\ud800""#] {
        assert_eq!(text(&format!(r#"{{"a":{nothing}}}"#), "a"), None, "{nothing}");
    }
}

#[test]
fn scalars_are_told_in_their_order_and_nothing_else() {
    let body =
        r#"{"s":"1","n":-2.50,"t":true,"f":false,"z":null,"o":{"x":"y"},"l":["y"],"bad":"\udc00","e":""}"#;
    let expected = [("s", "1"), ("n", "-2.50"), ("t", "true"), ("f", "false"), ("e", "")];
    assert_eq!(scalars(body), expected.map(|(name, value)| (name.into(), value.into())));
    assert_eq!(scalars("a=1&b=%20&a=2").len(), 3);
}

#[test]
fn what_is_nested_by_the_hundred_thousand_is_read() {
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

mod unescaping {
    use proptest::prelude::*;

    use super::super::unescaped;

    fn read(raw: &str) -> Option<String> {
        unescaped(raw).map(|text| text.to_string())
    }

    #[test]
    fn halves_of_a_pair_are_no_text() {
        assert_eq!(read(r#""\ud83d\ude00\/\u0041\"""#).as_deref(), Some("\u{1f600}/A\""));
        for half in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\ud83dx""#] {
            assert_eq!(read(half), None, "{half}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_as_serde_json_reads_them(text: String, escaped in r#"([ -!#-\[\]-~]|\\["\\/bfnrt]|\\u[0-9a-fD][0-9a-fA-F]{3}){0,20}"#) {
            for raw in [serde_json::to_string(&text).unwrap(), format!("\"{escaped}\"")] {
                prop_assert_eq!(read(&raw), serde_json::from_str::<String>(&raw).ok(), "{}", raw);
            }
        }
    }
}
