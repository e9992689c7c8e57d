//! Request parameters stay the same.

use std::sync::{Arc, Mutex};

use tower_reauth::{
    Refresher, Session,
    event::{EventKind, Warning},
};

use crate::{
    support::clock,
    token_endpoint::{Server, TOKEN, r1, reply},
};

#[tokio::test(start_paused = true)]
async fn c86_each_refresh_sends_the_same_parameters() {
    let replies = (2..5).map(|n| reply(200, TOKEN.replace('2', &n.to_string())));
    let server = Server::in_memory(replies);
    let client = server
        .client()
        .scopes(["openid", "a b"])
        .resource("https://one.example.com/?x=1&y")
        .resource("https://two.example.com")
        .audience("api")
        .extra_param("tenant", "t 1");
    let session = Session::builder(client.refresh_token_grant()).refresh_token("R1").clock(clock()).build();
    for _ in 0..3 {
        session.refresh().await.unwrap();
    }
    for (n, request) in (1..).zip(server.requests()) {
        let expected = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &format!("R{n}")),
            ("scope", "openid a b"),
            ("resource", "https://one.example.com/?x=1&y"),
            ("resource", "https://two.example.com"),
            ("audience", "api"),
            ("tenant", "t 1"),
            ("client_id", "app"),
        ];
        assert_eq!(request.form(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn c86_a_missing_scope_is_a_warning() {
    for (granted, missing) in [
        (r#","scope":"read""#, Some("write")),
        (r#","scope":"write-all read""#, Some("write")),
        (r#","scope":"write read more""#, None),
        (r#","scope":"read,write""#, None),
        (r#","scope":"read, write""#, None),
        (r#","scope":null"#, None),
        ("", None),
    ] {
        let response = format!(r#"{{"access_token":"A2","token_type":"Bearer"{granted}}}"#);
        let server = Server::in_memory([reply(200, response)]);
        let warned = Arc::<Mutex<Vec<Warning>>>::default();
        let warnings = Arc::clone(&warned);
        let session = Session::builder(server.client().scopes(["read", "write"]).refresh_token_grant())
            .refresh_token("R1")
            .clock(clock())
            .on_event(move |event| {
                if let EventKind::Warning { warning, .. } = &event.kind {
                    warnings.lock().unwrap().push(warning.clone());
                }
            })
            .build();
        session.token().await.unwrap();
        let expected: Vec<_> =
            missing.into_iter().map(|scope| Warning::missing_scopes([scope.to_owned()])).collect();
        assert_eq!(*warned.lock().unwrap(), expected, "{granted}");
    }
}

#[tokio::test(start_paused = true)]
async fn c86_extra_fields_and_scopes_are_kept() {
    let response = r#"{"access_token":"A2","token_type":"Bearer","scope":"read  write","id_token":"I2","n":7,"t":true,"o":{},"l":[1],"z":null,"expires_in":5}"#;
    let server = Server::in_memory([reply(200, response)]);
    let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(token.scopes().unwrap(), ["read", "write"]);
    let extras = ["id_token", "n", "t", "o", "l", "z", "expires_in", "access_token", "scope", "token_type"];
    let found = extras.map(|name| token.extra(name));
    let none = [None; 7];
    assert_eq!(found[..3], [Some("I2"), Some("7"), Some("true")]);
    assert_eq!(found[3..], none);
}

#[tokio::test(start_paused = true)]
async fn c86_d53_scopes_separated_by_commas_are_split() {
    let response = r#"{"access_token":"A2","token_type":"Bearer","scope":"repo,gist"}"#;
    let server = Server::in_memory([reply(200, response)]);
    let requests =
        server.client().scopes(["gist", "user"]).refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(requests.scopes().unwrap(), ["repo", "gist"]);
    assert_eq!(requests.warnings(), [Warning::missing_scopes(["user".to_owned()])]);
    let unasked = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(unasked.scopes().unwrap(), ["repo", "gist"]);
}

#[tokio::test(start_paused = true)]
async fn the_refreshers_of_a_client_are_independent() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server.client();
    let (plain, scoped) = (client.refresh_token_grant(), client.clone().scopes(["x"]).refresh_token_grant());
    plain.refresh(r1()).await.unwrap();
    scoped.refresh(r1()).await.unwrap();
    let requests = server.requests();
    assert_eq!((requests[0].param("scope"), requests[1].param("scope").as_deref()), (None, Some("x")));
}

#[tokio::test(start_paused = true)]
async fn d56_a_parameter_replaces_one_that_the_request_would_have() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server.client().client_secret_post("s").scopes(["a"]);
    let client = client
        .extra_param("grant_type", "urn:example:grant")
        .extra_param("scope", "b")
        .extra_param("client_id", "other")
        .resource("https://a.example.com")
        .resource("https://b.example.com");
    client.refresh_token_grant().refresh(r1()).await.unwrap();
    let form = server.requests()[0].form();
    let sent: Vec<_> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        sent,
        [
            "refresh_token=R1",
            "grant_type=urn:example:grant",
            "scope=b",
            "client_id=other",
            "resource=https://a.example.com",
            "resource=https://b.example.com",
            "client_secret=s"
        ]
    );
    let json = server.json().extra_field("device", "d1").extra_field("device", "d2");
    json.clone().refresh(r1()).await.unwrap();
    json.extra_field("refresh_token", "own").refresh(r1()).await.unwrap();
    let bodies: Vec<_> = server.requests()[1..].iter().map(|request| request.body.clone()).collect();
    assert_eq!(
        bodies,
        [r#"{"refresh_token":"R1","device":"d2"}"#, r#"{"device":"d2","refresh_token":"own"}"#]
    );
}
