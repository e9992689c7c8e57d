use http::HeaderValue;

use super::{
    lenient::Lexemes,
    parser::{MAX_CHALLENGES, MAX_FIELD_SIZE, MAX_PARAMS},
    *,
};

mod properties;
mod zoo;

fn read<F: AsRef<[u8]>>(fields: &[F]) -> Challenges {
    let mut headers = HeaderMap::new();
    for field in fields {
        let value = HeaderValue::from_bytes(field.as_ref()).expect("a valid header value");
        headers.append(WWW_AUTHENTICATE, value);
    }
    Challenges::from_headers(&headers)
}

/// `Bearer{realm=a|error=b} Basic{} Negotiate{<abc=>}`, followed by `?` if something was unreadable.
fn show(challenges: &Challenges) -> String {
    let mut shown: Vec<String> = Vec::new();
    for challenge in challenges {
        let mut params: Vec<String> =
            challenge.token68().map(|text| format!("<{text}>")).into_iter().collect();
        params.extend(challenge.params().map(|(name, value)| format!("{name}={value}")));
        shown.push(format!("{}{{{}}}", challenge.scheme(), params.join("|")));
    }
    if challenges.is_unreadable() {
        shown.push("?".to_owned());
    }
    shown.join(" ")
}

#[track_caller]
fn assert_read(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(field, expected)| (field, expected, show(&read(&[field]))))
        .filter(|(_, expected, shown)| expected != &shown)
        .map(|(field, expected, shown)| format!("{field}\n  read     {shown}\n  expected {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A server chooses them, and may repeat the token in them.
#[test]
fn d59_debug_shows_schemes_alone() {
    let long = "SENTINEL".repeat(100);
    let fields = [
        r#"Bearer realm="SENTINEL", error_description="SENTINEL""#.to_owned(),
        format!("{long} realm=a, {long}=b"),
        "Negotiate SENTINEL==".to_owned(),
    ];
    let shown = format!("{:?}", read(&fields));
    assert!(!shown.contains("SENTINEL") && shown.len() < 500, "{shown}");
    assert!(shown.contains("Bearer") && shown.contains("Negotiate"), "{shown}");
    let many = format!("{:?}", read(&vec!["Basic realm=a"; 1000]));
    assert!(many.len() < 500, "{many}");
}

#[test]
fn missing_and_extra_commas_are_accepted() {
    assert_read(&[
        (",, Bearer ,,realm=\"a\",, , error=b,,", "Bearer{realm=a|error=b}"),
        (r#"Bearer realm="a"error="b" , scope="c""#, "Bearer{realm=a|error=b|scope=c}"),
        ("Bearer realm=a error=b\tscope=c", "Bearer{realm=a|error=b|scope=c}"),
        (r#"Bearer realm="a"; error=b; scope=c;"#, "Bearer{realm=a|error=b|scope=c}"),
        (r#"Bearer realm="a" x="y", Basic realm="b""#, "Bearer{realm=a|x=y} Basic{realm=b}"),
        (r#"Bearer realm="a" "#, "Bearer{realm=a}"),
        (r#"Bearer realm="a" error="b" , "#, "Bearer{realm=a|error=b}"),
    ]);
}

#[test]
fn words_around_the_scheme_are_skipped() {
    assert_read(&[
        (r#"null undefined Bearer realm="a""#, "Bearer{realm=a}"),
        ("Basic realm=b, null Bearer realm=a", "Basic{realm=b} Bearer{realm=a}"),
        (r#"Bearer: realm="a""#, "Bearer{realm=a}"),
        ("Bearer token is required", "Bearer{} ?"),
        ("Bearer token required, Basic", "Bearer{} Basic{} ?"),
        (r#"realm="a", error=b"#, "{realm=a|error=b}"),
        (r#"Basic, (Bearer) realm="a""#, "Basic{} {realm=a} ?"),
    ]);
}

#[test]
fn unquoted_values_end_at_commas() {
    assert_read(&[
        ("Bearer realm=https://a.example/b?c=d, error=e", "Bearer{realm=https://a.example/b?c=d|error=e}"),
        (
            "Bearer error_description=The token has expired, error=e",
            "Bearer{error_description=The token has expired|error=e}",
        ),
        ("Bearer error_description=has expired error=e", "Bearer{error_description=has expired|error=e}"),
        ("Bearer claims=eyJhIjoxfQ==, error=e", "Bearer{claims=eyJhIjoxfQ==|error=e}"),
        ("Bearer claims= eyJhIjoxfQ==, error=e", "Bearer{claims=eyJhIjoxfQ==|error=e}"),
        ("Bearer realm=a;b;c, error=(e)", "Bearer{realm=a;b;c|error=(e)}"),
        ("Bearer error=, scope=a b", "Bearer{error=|scope=a b}"),
        ("Bearer error= scope=a b", "Bearer{error=|scope=a b}"),
        ("Bearer realm=a b, error=", "Bearer{realm=a b|error=}"),
        ("Bearer realm=a =b, error=e", "Bearer{realm=a =b|error=e}"),
    ]);
}

#[test]
fn single_quotes_are_quotes_if_they_end_a_value() {
    assert_read(&[
        ("Bearer realm='a, b', error='c d'", "Bearer{realm=a, b|error=c d}"),
        (r"Bearer realm='C:\a b\', error='c d'", r"Bearer{realm=C:\a b\|error=c d}"),
        ("Bearer realm='it's a', error='c d'", "Bearer{realm=it's a|error=c d}"),
        ("Bearer realm='tis a, error='c d", "Bearer{realm='tis a|error='c d}"),
        // In the grammar they are ordinary characters.
        ("Bearer realm='a', error='b'", "Bearer{realm='a'|error='b'}"),
    ]);
    assert!(read(&["Bearer realm='a', error='insufficient_scope'"]).is_step_up());
    assert!(read(&["Bearer realm='a b', error='insufficient_scope'"]).is_step_up());
}

#[test]
fn a_quote_within_a_value_does_not_end_it() {
    assert_read(&[
        (r#"Bearer realm="a "b", "c" d", error=e"#, r#"Bearer{realm=a "b", "c" d|error=e}"#),
        (r#"Bearer realm="say "hi, there"", error=e"#, r#"Bearer{realm=say "hi, there"|error=e}"#),
        (r#"Bearer realm="say "hi", you there", error=e"#, r#"Bearer{realm=say "hi", you there|error=e}"#),
        (r#"Bearer realm="a "b", c d e, f", error=e"#, r#"Bearer{realm=a "b", c d e, f|error=e}"#),
        (r#"Bearer realm="a "b"" error="e""#, r#"Bearer{realm=a "b"|error=e}"#),
        (r#"Bearer realm="a "b"", Basic realm="c""#, r#"Bearer{realm=a "b"} Basic{realm=c}"#),
        (r#"Bearer realm="a "b"", Negotiate"#, r#"Bearer{realm=a "b"} Negotiate{}"#),
        (r#"Bearer realm="a "b"", Negotiate abc=="#, r#"Bearer{realm=a "b"} Negotiate{<abc==>}"#),
        (r#"Bearer realm="a \"b\\" "c"", error=e"#, r#"Bearer{realm=a "b\" "c"|error=e}"#),
    ]);
}

#[test]
fn values_without_an_end_or_a_name_are_skipped() {
    assert_read(&[
        (r#"Bearer realm="a", error="insufficient_scope"#, "Bearer{realm=a} ?"),
        (r#"Bearer realm="a", error="insufficient_scope\""#, "Bearer{realm=a} ?"),
        (r#"Bearer realm="a", error="insufficient_scope\"#, "Bearer{realm=a} ?"),
        (r#"Bearer "insufficient_scope", realm="a""#, "Bearer{realm=a} ?"),
        (r#"Bearer realm=a, ="insufficient_scope", error=b"#, "Bearer{realm=a|error=b} ?"),
        (r#"Bearer er/ror="insufficient_scope", realm="a""#, "Bearer{realm=a} ?"),
        (r#""Bearer"#, "?"),
        ("=", "?"),
        ("==", "?"),
        (r#"{"error":"insufficient_scope"}"#, "?"),
    ]);
    assert!(!read(&[r#"Bearer realm="a", error="insufficient_scope"#]).is_step_up());
}

#[test]
fn token68_values_are_distinguished_from_parameters() {
    assert_read(&[
        ("Negotiate abc", "Negotiate{<abc>}"),
        ("Negotiate abc=", "Negotiate{<abc=>}"),
        ("Negotiate a+/b==, Basic realm=\"c\"", "Negotiate{<a+/b==>} Basic{realm=c}"),
        ("Negotiate abc=, Basic realm=\"c\"", "Negotiate{<abc=>} Basic{realm=c}"),
        ("Negotiate abc=  ,  NTLM", "Negotiate{<abc=>} NTLM{}"),
    ]);
}

#[test]
fn h29_bytes_above_0x7f_hide_no_other_parameter() {
    let latin1 =
        b"Bearer error=\"insufficient_scope\", error_description=\"Credenciales no v\xe1lidas, \\\xe1\"";
    let challenges = read(&[latin1]);
    assert_eq!(
        show(&challenges),
        "Bearer{error=insufficient_scope|error_description=Credenciales no v\u{fffd}lidas, \u{fffd}}"
    );
    assert!(challenges.is_step_up());
    assert!(!read(&[b"Bearer error=\"insufficient_scop\xe9\""]).is_step_up());
}

#[test]
fn a_blamed_token_outweighs_step_up_and_nonce() {
    let scope = r#"Bearer error="insufficient_scope""#;
    let nonce = r#"DPoP error="use_dpop_nonce""#;
    for blame in [
        r#"Bearer error="invalid_token""#,
        "DPoP error=INVALID_TOKEN",
        r#"PoP error="insufficient_claims", claims="e30""#,
        r#"OAuth2 error=" invalid_token " realm="x""#,
    ] {
        assert!(!read(&[scope, blame]).is_step_up(), "{blame}");
        assert!(!read(&[blame, scope]).is_step_up(), "{blame}");
        assert!(!read(&[nonce, blame]).is_use_dpop_nonce(), "{blame}");
    }
    assert!(!read(&[r#"Bearer error="insufficient_scope", error="invalid_token""#]).is_step_up());
    let sign_in = r#"Bearer error="insufficient_user_authentication", acr_values="mfa""#;
    assert!(read(&[sign_in]).is_step_up());
    assert!(!read(&[sign_in, r#"Bearer error="invalid_token""#]).is_step_up());
    for other in ["Bearer", r#"Basic realm="invalid_token""#, r#"Bearer error="bad_token""#] {
        assert!(read(&[other, scope]).is_step_up(), "{other}");
        assert!(read(&[other, nonce]).is_use_dpop_nonce(), "{other}");
    }
    assert!(read(&[r#"OAuth2 error="insufficient_scope""#]).is_step_up());
    assert!(
        !read(&[r#"Bearer scope="insufficient_scope", error_description="use_dpop_nonce""#]).is_step_up()
    );
    assert!(!read(&[nonce]).is_step_up());
    assert!(!read(&[scope]).is_use_dpop_nonce());
}

#[test]
fn empty_fields_are_not_unreadable() {
    for fields in [&[][..], &[""], &[",", " , "]] {
        let challenges = read(fields);
        assert!(challenges.is_empty() && !challenges.is_unreadable(), "{fields:?}");
    }
    assert!(!read(&["Bearer"]).is_empty());
    let unreadable = read(&["\"", "Bearer"]);
    assert!(unreadable.is_unreadable() && unreadable.find("bearer").is_some());
    let other =
        HeaderMap::from_iter([(http::header::PROXY_AUTHENTICATE, HeaderValue::from_static("Bearer"))]);
    assert!(Challenges::from_headers(&other).is_empty());
}

#[test]
fn names_are_case_insensitive_and_the_first_counts() {
    let challenges = read(&[r#"bEARER Realm="a", realm="b", Bearer realm="c""#]);
    let bearer = challenges.find("Bearer").expect("a Bearer challenge");
    assert_eq!(bearer.scheme(), "bEARER");
    assert_eq!((bearer.param("REALM"), bearer.param("scope")), (Some("a"), None));
    assert!(challenges.find("Basic").is_none());
}

#[test]
fn a_long_field_is_truncated_between_items() {
    let fill = |before: &str, after: &str| {
        let fill = MAX_FIELD_SIZE - before.len();
        format!("{before}{}{after}", "x".repeat(fill))
    };
    let within = read(&[fill("Bearer error=insufficient_scope, scope=", "")]);
    assert!(within.is_step_up() && !within.is_unreadable());
    let beyond = read(&[fill("Bearer error=insufficient_scope, scope=", "x")]);
    assert_eq!(show(&beyond), "Bearer{error=insufficient_scope} ?");
    let quoted = read(&[fill("Bearer error=insufficient_scope, scope=\"", " \"")]);
    assert_eq!(show(&quoted), "Bearer{error=insufficient_scope} ?");
    assert_eq!(show(&read(&["x".repeat(MAX_FIELD_SIZE + 1)])), "?");
    assert_eq!(show(&read(&[fill("Bearer error=insufficient_scope ", "x")])), "?");
    // The limit falls inside the error code.
    let prefix = format!("Bearer scope={}, error=", "x".repeat(MAX_FIELD_SIZE - 39));
    assert_eq!(prefix.len(), MAX_FIELD_SIZE - "insufficient_scope".len());
    let half = read(&[format!("{prefix}insufficient_scope_or_not")]);
    assert!(!half.is_step_up() && half.is_unreadable());
    assert!(read(&[format!("{prefix}insufficient_scope")]).is_step_up());
}

#[test]
fn challenges_and_parameters_are_limited() {
    for separator in [", ", " ,\u{e9}=\"\", "] {
        let all = vec!["Bearer a=b"; MAX_CHALLENGES].join(separator);
        let challenges = read(&[&all]);
        assert_eq!(challenges.iter().count(), MAX_CHALLENGES);
        assert_eq!(challenges.is_unreadable(), separator != ", ");
        for more in [vec![format!("{all}, Basic")], vec![all.clone(), "Basic".to_owned()]] {
            let challenges = read(&more);
            assert_eq!(challenges.iter().count(), MAX_CHALLENGES);
            assert!(challenges.is_unreadable() && challenges.find("Basic").is_none());
        }
    }
    for (separator, unreadable) in [(", ", false), (" ", false)] {
        let all = format!("Bearer {}", vec!["a=b"; MAX_PARAMS].join(separator));
        assert_eq!(read(&[&all]).is_unreadable(), unreadable);
        let more = read(&[format!("{all}{separator}c=d, Basic realm=e")]);
        assert_eq!(more.find("Bearer").map(|bearer| bearer.params().count()), Some(MAX_PARAMS));
        assert!(more.is_unreadable() && more.find("Basic").is_some());
    }
}
