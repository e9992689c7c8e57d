//! Fields that real servers sent.

use super::read;

/// What a status 401 with these challenges says about the token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Rejected,
    StepUp,
    Nonce,
}

struct Row {
    number: &'static str,
    status: u16,
    fields: &'static [&'static str],
    meaning: Meaning,
    /// The challenges to be parsed, with all their parameters.
    challenges: &'static [(&'static str, &'static [(&'static str, &'static str)])],
}

const fn row(
    number: &'static str,
    status: u16,
    fields: &'static [&'static str],
    meaning: Meaning,
    challenges: &'static [(&'static str, &'static [(&'static str, &'static str)])],
) -> Row {
    Row { number, status, fields, meaning, challenges }
}

#[test]
fn field_reports_are_parsed_and_interpreted() {
    let mut failures = Vec::new();
    for Row { number, status, fields, meaning, challenges } in REPORTS {
        let read = read(fields);
        let found = match (read.is_step_up(), read.is_use_dpop_nonce()) {
            (true, false) => Meaning::StepUp,
            (false, true) => Meaning::Nonce,
            (false, false) => Meaning::Rejected,
            (true, true) => panic!("{number}: step-up and nonce"),
        };
        let seen: Vec<(&str, Vec<(&str, &str)>)> =
            read.iter().map(|challenge| (challenge.scheme(), challenge.params().collect())).collect();
        let expected: Vec<_> = challenges.iter().map(|(scheme, params)| (*scheme, params.to_vec())).collect();
        if found != *meaning {
            failures.push(format!("{number} ({status}): meant {found:?}, not {meaning:?}"));
        }
        if seen != expected {
            failures.push(format!("{number} ({status}):\n  read     {seen:?}\n  expected {expected:?}"));
        }
        if read.is_unreadable() {
            failures.push(format!("{number} ({status}): something was unreadable"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn h46_a_token68_value_is_parsed() {
    let negotiate = read(&["Negotiate YIIB/wYJKoZIhvcSAQICAQBuggFtMIIB=="]);
    let token68 = negotiate.find("negotiate").and_then(|challenge| challenge.token68());
    assert_eq!(token68, Some("YIIB/wYJKoZIhvcSAQICAQBuggFtMIIB=="));
}

#[test]
fn all_field_reports_are_listed() {
    let numbers: Vec<&str> = REPORTS.iter().map(|row| row.number).collect();
    let expected: Vec<String> = (1..=49).map(|number| format!("H{number:02}")).collect();
    assert_eq!(numbers, expected);
}

const REPORTS: &[Row] = &[
    row(
        "H01",
        401,
        &[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:alpine:pull""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "https://auth.docker.io/token"),
                ("service", "registry.docker.io"),
                ("scope", "repository:alpine:pull"),
            ],
        )],
    ),
    row(
        "H02",
        401,
        &[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:<repo>:pull",error="insufficient_scope""#,
        ],
        Meaning::StepUp,
        &[(
            "Bearer",
            &[
                ("realm", "https://auth.docker.io/token"),
                ("service", "registry.docker.io"),
                ("scope", "repository:<repo>:pull"),
                ("error", "insufficient_scope"),
            ],
        )],
    ),
    row(
        "H03",
        401,
        &[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:ratelimitpreview/test:pull",error="invalid_token""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "https://auth.docker.io/token"),
                ("service", "registry.docker.io"),
                ("scope", "repository:ratelimitpreview/test:pull"),
                ("error", "invalid_token"),
            ],
        )],
    ),
    row(
        "H04",
        401,
        &[r#"Bearer realm="https://reg.example:5000/auth",service="my docker reg",error="invalid_token""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "https://reg.example:5000/auth"),
                ("service", "my docker reg"),
                ("error", "invalid_token"),
            ],
        )],
    ),
    row(
        "H05",
        401,
        &[r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "https://accounts.google.com/"), ("error", "invalid_token")])],
    ),
    row(
        "H06",
        401,
        &[r#"Bearer realm="https://accounts.google.com/", error=invalid_token"#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "https://accounts.google.com/"), ("error", "invalid_token")])],
    ),
    row(
        "H07",
        401,
        &[r#"Bearer realm="https://accounts.google.com/""#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "https://accounts.google.com/")])],
    ),
    row(
        "H08",
        403,
        &[
            r#"Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="https://www.googleapis.com/auth/generative-language https://www.googleapis.com/auth/generative-language.tuning""#,
        ],
        Meaning::StepUp,
        &[(
            "Bearer",
            &[
                ("realm", "https://accounts.google.com/"),
                ("error", "insufficient_scope"),
                (
                    "scope",
                    "https://www.googleapis.com/auth/generative-language https://www.googleapis.com/auth/generative-language.tuning",
                ),
            ],
        )],
    ),
    row(
        "H09",
        401,
        &[
            r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzI2MDc3NTk1In0sInhtc19jYWVlcnJvciI6eyJ2YWx1ZSI6IjEwMDEyIn19fQ==""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", ""),
                ("authorization_uri", "https://login.microsoftonline.com/common/oauth2/authorize"),
                ("error", "insufficient_claims"),
                (
                    "claims",
                    "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzI2MDc3NTk1In0sInhtc19jYWVlcnJvciI6eyJ2YWx1ZSI6IjEwMDEyIn19fQ==",
                ),
            ],
        )],
    ),
    row(
        "H10",
        401,
        &[
            r#"PoP realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000", nonce="ey==", Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="eyJhIjoxfQ==""#,
        ],
        Meaning::Rejected,
        &[
            (
                "PoP",
                &[
                    ("realm", ""),
                    ("authorization_uri", "https://login.microsoftonline.com/common/oauth2/authorize"),
                    ("client_id", "00000003-0000-0000-c000-000000000000"),
                    ("nonce", "ey=="),
                ],
            ),
            (
                "Bearer",
                &[
                    ("realm", ""),
                    ("authorization_uri", "https://login.microsoftonline.com/common/oauth2/authorize"),
                    ("error", "insufficient_claims"),
                    ("claims", "eyJhIjoxfQ=="),
                ],
            ),
        ],
    ),
    row(
        "H11",
        401,
        &[
            r#"Bearer realm="", authorization_uri="https://localhost", client_id="00", error="insufficient_claims", claims="eyJhIjoxfQ==",Bearer authorization_uri="https://login.windows-ppe.net/", error="invalid_token", error_description="User session has been revoked", claims="eyJiIjoyfQ==""#,
        ],
        Meaning::Rejected,
        &[
            (
                "Bearer",
                &[
                    ("realm", ""),
                    ("authorization_uri", "https://localhost"),
                    ("client_id", "00"),
                    ("error", "insufficient_claims"),
                    ("claims", "eyJhIjoxfQ=="),
                ],
            ),
            (
                "Bearer",
                &[
                    ("authorization_uri", "https://login.windows-ppe.net/"),
                    ("error", "invalid_token"),
                    ("error_description", "User session has been revoked"),
                    ("claims", "eyJiIjoyfQ=="),
                ],
            ),
        ],
    ),
    row(
        "H12",
        401,
        &[
            r#"Bearer authorization_uri="https://login.window.net/contoso.com/oauth2/authorize",  error="invalid_token",  error_description="The access token is missing.","#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("authorization_uri", "https://login.window.net/contoso.com/oauth2/authorize"),
                ("error", "invalid_token"),
                ("error_description", "The access token is missing."),
            ],
        )],
    ),
    row(
        "H13",
        302,
        &[r#"Bearer authorization_uri="https://login.microsoftonline.com/{tenant}/oauth2/authorize""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[("authorization_uri", "https://login.microsoftonline.com/{tenant}/oauth2/authorize")],
        )],
    ),
    row(
        "H14",
        401,
        &[
            r#"Bearer authorization_uri="https://login.microsoftonline.com/{tenant}", resource_id="https://api.advisor.powerapps.com/""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("authorization_uri", "https://login.microsoftonline.com/{tenant}"),
                ("resource_id", "https://api.advisor.powerapps.com/"),
            ],
        )],
    ),
    row(
        "H15",
        401,
        &[r#"Bearer error="invalid_token", error_description="The token expired at '05/20/2026 11:26:55'""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("error", "invalid_token"),
                ("error_description", "The token expired at '05/20/2026 11:26:55'"),
            ],
        )],
    ),
    row(
        "H16",
        401,
        &[r#"Bearer error="invalid_token",error_description="The token expired at '08/21/2026 09:11:54'""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("error", "invalid_token"),
                ("error_description", "The token expired at '08/21/2026 09:11:54'"),
            ],
        )],
    ),
    row(
        "H17",
        401,
        &[r#"Bearer realm="myrealm", error="invalid_token", error_description="Token verification failed""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "myrealm"),
                ("error", "invalid_token"),
                ("error_description", "Token verification failed"),
            ],
        )],
    ),
    row(
        "H18",
        401,
        &[
            r#"Bearer error="invalid_token", error_description="An error occurred while attempting to decode the Jwt: Jwt expired at 2023-01-01T07:00:00Z", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("error", "invalid_token"),
                (
                    "error_description",
                    "An error occurred while attempting to decode the Jwt: Jwt expired at 2023-01-01T07:00:00Z",
                ),
                ("error_uri", "https://tools.ietf.org/html/rfc6750#section-3.1"),
            ],
        )],
    ),
    row(
        "H19",
        401,
        &[
            r#"Bearer error="invalid_token", error_description="An error occurred while attempting to decode the Jwt: The aud claim is not valid", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("error", "invalid_token"),
                (
                    "error_description",
                    "An error occurred while attempting to decode the Jwt: The aud claim is not valid",
                ),
                ("error_uri", "https://tools.ietf.org/html/rfc6750#section-3.1"),
            ],
        )],
    ),
    row(
        "H20",
        403,
        &[
            r#"Bearer error="insufficient_scope", error_description="The request requires higher privileges than provided by the access token.", error_uri="https://tools.ietf.org/html/rfc6750#section-3.1""#,
        ],
        Meaning::StepUp,
        &[(
            "Bearer",
            &[
                ("error", "insufficient_scope"),
                (
                    "error_description",
                    "The request requires higher privileges than provided by the access token.",
                ),
                ("error_uri", "https://tools.ietf.org/html/rfc6750#section-3.1"),
            ],
        )],
    ),
    row(
        "H21",
        401,
        &[
            r#"Bearer scope="" error="invalid_token" error_description="the token does not have a valid audience""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("scope", ""),
                ("error", "invalid_token"),
                ("error_description", "the token does not have a valid audience"),
            ],
        )],
    ),
    row(
        "H22",
        401,
        &[
            r#"OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="The access token expired""#,
        ],
        Meaning::Rejected,
        &[(
            "OAuth2",
            &[
                ("realm", "WSO2 API Manager"),
                ("error", "invalid_token"),
                ("error_description", "The access token expired"),
            ],
        )],
    ),
    row(
        "H23",
        401,
        &[
            r#"null Bearer realm="WSO2 API Manager", error="invalid_token", error_description="The provided token is invalid""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "WSO2 API Manager"),
                ("error", "invalid_token"),
                ("error_description", "The provided token is invalid"),
            ],
        )],
    ),
    row(
        "H24",
        401,
        &["Bearer, error=access_denied, error_description=foobar"],
        Meaning::Rejected,
        &[("Bearer", &[("error", "access_denied"), ("error_description", "foobar")])],
    ),
    row(
        "H25",
        401,
        &[r#"Bearer, error="invalid_token", error_description="Invalid or expired access token""#],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[("error", "invalid_token"), ("error_description", "Invalid or expired access token")],
        )],
    ),
    row(
        "H26",
        401,
        &[r#"Bearer, realm="/1.0/library/book""#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "/1.0/library/book")])],
    ),
    row(
        "H27",
        401,
        &[r#"Bearer error="invalid_token" error_description="Access token is expired""#],
        Meaning::Rejected,
        &[("Bearer", &[("error", "invalid_token"), ("error_description", "Access token is expired")])],
    ),
    row(
        "H28",
        401,
        &[
            r#"Bearer realm="Starburst-OAuth-Client" error="invalid_client" error_description="No description""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[
                ("realm", "Starburst-OAuth-Client"),
                ("error", "invalid_client"),
                ("error_description", "No description"),
            ],
        )],
    ),
    row(
        "H29",
        401,
        &[r#"Bearer error="invalid_token",error_description="Credenciales no vÃ¡lidas.""#],
        Meaning::Rejected,
        &[("Bearer", &[("error", "invalid_token"), ("error_description", "Credenciales no vÃ¡lidas.")])],
    ),
    row(
        "H30",
        401,
        &[r#"Bearer error="invalid_token", error_description="Unexpected "foo" value""#],
        Meaning::Rejected,
        &[("Bearer", &[("error", "invalid_token"), ("error_description", r#"Unexpected "foo" value"#)])],
    ),
    row(
        "H31",
        401,
        &[r#"Bearer error="invalid_token", error_description="Missing Authorization header""#],
        Meaning::Rejected,
        &[("Bearer", &[("error", "invalid_token"), ("error_description", "Missing Authorization header")])],
    ),
    row(
        "H32",
        401,
        &[
            r#"Bearer resource_metadata="https://resource.example.com/some/path/.well-known/oauth-protected-resource""#,
        ],
        Meaning::Rejected,
        &[(
            "Bearer",
            &[(
                "resource_metadata",
                "https://resource.example.com/some/path/.well-known/oauth-protected-resource",
            )],
        )],
    ),
    row(
        "H33",
        403,
        &[
            r#"Bearer error="insufficient_scope", scope="files:read files:write user:profile", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource", error_description="Additional file write permission required""#,
        ],
        Meaning::StepUp,
        &[(
            "Bearer",
            &[
                ("error", "insufficient_scope"),
                ("scope", "files:read files:write user:profile"),
                ("resource_metadata", "https://mcp.example.com/.well-known/oauth-protected-resource"),
                ("error_description", "Additional file write permission required"),
            ],
        )],
    ),
    row(
        "H34",
        401,
        &[r#"DPoP error="use_dpop_nonce""#],
        Meaning::Nonce,
        &[("DPoP", &[("error", "use_dpop_nonce")])],
    ),
    row(
        "H35",
        401,
        &[r#"DPoP realm="Solid", Bearer realm="Solid""#],
        Meaning::Rejected,
        &[("DPoP", &[("realm", "Solid")]), ("Bearer", &[("realm", "Solid")])],
    ),
    row(
        "H36",
        401,
        &[r#"DPoP algs="ES256", Bearer scope="files""#],
        Meaning::Rejected,
        &[("DPoP", &[("algs", "ES256")]), ("Bearer", &[("scope", "files")])],
    ),
    row(
        "H37",
        401,
        &[r#"Bearer scope="say \"hi, there\"""#],
        Meaning::Rejected,
        &[("Bearer", &[("scope", r#"say "hi, there""#)])],
    ),
    row(
        "H38",
        401,
        &[
            r#"Basic realm="myrealm", Bearer authorization_uri="https://login.example/", error="invalid_token""#,
        ],
        Meaning::Rejected,
        &[
            ("Basic", &[("realm", "myrealm")]),
            ("Bearer", &[("authorization_uri", "https://login.example/"), ("error", "invalid_token")]),
        ],
    ),
    row(
        "H39",
        401,
        &[r#"Bearer realm="http://example1.com""#, r#"Bearer realm="http://example2.com""#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "http://example1.com")]), ("Bearer", &[("realm", "http://example2.com")])],
    ),
    row(
        "H40",
        401,
        &[r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple""#],
        Meaning::Rejected,
        &[
            ("Newauth", &[("realm", "apps"), ("type", "1"), ("title", r#"Login to "apps""#)]),
            ("Basic", &[("realm", "simple")]),
        ],
    ),
    row("H41", 401, &["Token"], Meaning::Rejected, &[("Token", &[])]),
    row("H42", 401, &[r#"Basic realm="GitHub""#], Meaning::Rejected, &[("Basic", &[("realm", "GitHub")])]),
    row(
        "H43",
        401,
        &[r#"Basic realm="kubernetes-master""#],
        Meaning::Rejected,
        &[("Basic", &[("realm", "kubernetes-master")])],
    ),
    row(
        "H44",
        401,
        &["Basic realm='Sandstorm API'"],
        Meaning::Rejected,
        &[("Basic", &[("realm", "Sandstorm API")])],
    ),
    row(
        "H45",
        401,
        &[
            r#"Digest realm="me@example.com", nonce="fff", qop="auth", opaque="aaa", algorithm=MD5, stale=FALSE"#,
        ],
        Meaning::Rejected,
        &[(
            "Digest",
            &[
                ("realm", "me@example.com"),
                ("nonce", "fff"),
                ("qop", "auth"),
                ("opaque", "aaa"),
                ("algorithm", "MD5"),
                ("stale", "FALSE"),
            ],
        )],
    ),
    row(
        "H46",
        401,
        &["Negotiate YIIB/wYJKoZIhvcSAQICAQBuggFtMIIB=="],
        Meaning::Rejected,
        &[("Negotiate", &[])],
    ),
    row(
        "H47",
        401,
        &[r#"Bearer   realm =   "something"   ,error="bad_token" ,  error_description = " spaced ""#],
        Meaning::Rejected,
        &[("Bearer", &[("realm", "something"), ("error", "bad_token"), ("error_description", " spaced ")])],
    ),
    row("H48", 401, &[], Meaning::Rejected, &[]),
    row("H49", 401, &["Bearer"], Meaning::Rejected, &[("Bearer", &[])]),
];
