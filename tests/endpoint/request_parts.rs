//! Where requests carry what, and what is made for each of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, HeaderValue, Method, header};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Session, Token,
    endpoint::{EndpointError, ErrorClassifier, FailureKind},
    json::TokenPlace,
};

use crate::{
    support::{clock, token},
    token_endpoint::{RecordedRequest, Server, TOKEN, error, r1, reply},
};

/// A context with an expired token.
fn a1_r1() -> RefreshContext {
    RefreshContext::builder().token(token("A1 R1 0")).build()
}

fn target(request: &RecordedRequest) -> String {
    request.uri.path_and_query().unwrap().to_string()
}

fn x(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

#[tokio::test(start_paused = true)]
async fn d87_fields_can_be_nested() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let endpoint = server
        .json()
        .refresh_token_field("/auth/refresh")
        .extra_field("device", "d7")
        .extra_field("/auth/client/id", "web")
        .extra_field("/auth/a~1b~0c", "x")
        .extra_field("/auth/client/id", "app");
    endpoint.refresh(r1()).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.body, r#"{"auth":{"refresh":"R1","client":{"id":"app"},"a/b~c":"x"},"device":"d7"}"#);
    assert_eq!((&request.method, request.header("content-type")), (&Method::POST, "application/json"));
}

#[tokio::test(start_paused = true)]
async fn d87_a_token_is_sent_as_a_header_or_in_the_query() {
    let cases = [
        (TokenPlace::bearer(), "/session", [("authorization", "Bearer R1"), ("x-r", "")]),
        (TokenPlace::header(x("x-r")), "/session", [("authorization", ""), ("x-r", "R1")]),
        (TokenPlace::query("r t"), "/session?r+t=R1", [("authorization", ""), ("x-r", "")]),
    ];
    for (place, uri, headers) in cases {
        let server = Server::in_memory([reply(200, TOKEN)]);
        server.json().send_refresh_token(place).refresh(r1()).await.unwrap();
        let request = &server.requests()[0];
        assert_eq!((target(request), &*request.body), (uri.to_owned(), &b"{}"[..]));
        for (name, value) in headers {
            assert_eq!(request.header(name), value, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d87_a_get_has_its_fields_in_the_query() {
    let server = Server::in_memory([
        reply(307, "").header("location", "/new?refresh_token=R1&d=7"),
        reply(200, TOKEN),
    ]);
    let endpoint = server.json().get().extra_field("d", "7").send_access_token(TokenPlace::bearer());
    endpoint.refresh(a1_r1()).await.unwrap();
    let requests = server.requests();
    for (request, path) in requests.iter().zip(["/session", "/new"]) {
        // Not twice after a redirect.
        assert_eq!(target(request), format!("{path}?refresh_token=R1&d=7"));
        assert_eq!((&request.method, &*request.body), (&Method::GET, &b""[..]));
        assert_eq!(request.header("content-type"), "");
        assert_eq!(request.header("authorization"), "Bearer A1");
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn d56_a_get_sends_no_parameter_twice() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let endpoint = server
        .json()
        .get()
        .send_refresh_token(TokenPlace::query("token"))
        .send_access_token(TokenPlace::field("d"))
        .extra_field("d", "7")
        .extra_field_with("d", |_| async { Ok("8".to_owned()) })
        .extra_field("token", "mine");
    endpoint.refresh(a1_r1()).await.unwrap();
    assert_eq!(target(&server.requests()[0]), "/session?d=8&token=mine");
    // By POST they are in different places.
    let endpoint = server.json().send_refresh_token(TokenPlace::query("token")).extra_field("token", "mine");
    endpoint.refresh(r1()).await.unwrap();
    let request = &server.requests()[1];
    assert_eq!((&*target(request), &*request.body), ("/session?token=R1", &br#"{"token":"mine"}"#[..]));
}

#[tokio::test(start_paused = true)]
async fn d87_an_access_token_can_take_the_refresh_token_s_place() {
    let server = Server::in_memory([reply(200, r#"{"access_token":"A2"}"#), error(401, "ended")]);
    let endpoint = server
        .json()
        .without_refresh_token()
        .send_access_token(TokenPlace::bearer())
        .error_classifier(ErrorClassifier::new().code("ended", FailureKind::GrantEnded));
    let error = endpoint.refresh(RefreshContext::default()).await.unwrap_err();
    assert!(error.is_grant_ended());
    assert_eq!(server.count(), 0);

    let session = Session::builder(endpoint).token(token("A1 - 0")).clock(clock()).build();
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert!(session.refresh().await.unwrap_err().is_grant_ended());
    let sent: Vec<_> =
        server.requests().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer A1", "Bearer A2"]);
    assert_eq!(server.requests()[0].body, "{}");
}

#[tokio::test(start_paused = true)]
async fn d87_an_endpoint_that_takes_access_tokens_revokes_them() {
    let server = Server::in_memory([reply(200, "")]);
    let endpoint = server.json().without_refresh_token();
    let url = server.url("/revoke");
    // There is nothing to send.
    endpoint.revocation(url.as_str()).unwrap().revoke(token("A1 R1 0")).await.unwrap();
    assert_eq!(server.count(), 0);
    let endpoint = endpoint.send_access_token(TokenPlace::bearer());
    endpoint.revocation(url.as_str()).unwrap().revoke(token("A1 R1 0")).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!((request.header("authorization"), &*request.body), ("Bearer A1", &b"{}"[..]));
}

#[tokio::test(start_paused = true)]
async fn d87_headers_and_secrets_are_made_for_each_call() {
    fn numbered(
        prefix: &'static str,
    ) -> impl Fn(RefreshContext) -> std::future::Ready<Result<String, RefreshError>> + Send + Sync {
        let count = AtomicUsize::new(0);
        move |_| std::future::ready(Ok(format!("{prefix}{}\n", count.fetch_add(1, Ordering::SeqCst) + 1)))
    }
    let made = |cx: RefreshContext| async move {
        let value = format!("{:?} {}", cx.reason(), cx.refresh_token().unwrap_or("-"));
        HeaderValue::try_from(value).map_err(RefreshError::misconfigured)
    };

    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server.client().header_with(x("x-made"), made);
    let post = client.clone().client_secret_post("old").client_secret_post_with(numbered("s"));
    let basic = client.client_secret_basic_with(numbered("s"));
    for _ in 0..2 {
        post.refresh_token_grant().refresh(r1()).await.unwrap();
    }
    basic.client_credentials_grant().refresh(r1()).await.unwrap();
    basic.revocation(server.url("/revoke")).unwrap().revoke(token("A1 - 0")).await.unwrap();
    let requests = server.requests();
    for (request, secret) in requests.iter().zip(["s1", "s2"]) {
        assert_eq!(request.param("client_secret").as_deref(), Some(secret));
        assert_eq!(request.header("x-made"), "Initial R1");
    }
    for (request, secret) in requests[2..].iter().zip(["YXBwOnMx", "YXBwOnMy"]) {
        assert_eq!(request.header("authorization"), format!("Basic {secret}"));
    }
    assert_eq!(requests[3].header("x-made"), "Initial -");

    let server = Server::in_memory([reply(200, TOKEN)]);
    let endpoint = server
        .json()
        .header(x("x-fixed"), HeaderValue::from_static("f"))
        .header_with(x("x-made"), made)
        .extra_field_with("/client/secret", numbered("s"));
    for n in 1..3 {
        endpoint.refresh(r1()).await.unwrap();
        let request = &server.requests()[n - 1];
        assert_eq!(request.body, format!(r#"{{"refresh_token":"R1","client":{{"secret":"s{n}"}}}}"#));
        assert_eq!((request.header("x-fixed"), request.header("x-made")), ("f", "Initial R1"));
    }
}

#[tokio::test(start_paused = true)]
async fn d87_the_refresh_token_can_be_the_bearer_of_an_oauth2_refresh() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server.client().header_with(header::AUTHORIZATION, |cx: RefreshContext| async move {
        let value = format!("Bearer {}", cx.refresh_token().unwrap_or_default());
        HeaderValue::try_from(value).map_err(RefreshError::misconfigured)
    });
    client.refresh_token_grant().refresh(r1()).await.unwrap();
    assert_eq!(server.requests()[0].header("authorization"), "Bearer R1");
}

/// Its kind, too; nothing is sent.
#[tokio::test(start_paused = true)]
async fn d87_a_closure_s_failure_is_that_of_the_refresh() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let client = server
        .client()
        .client_secret_basic_with(|_| async { Err::<String, _>(RefreshError::transient("not mounted yet")) });
    assert!(client.refresh_token_grant().refresh(r1()).await.unwrap_err().is_transient());
    let revocation = client.revocation(server.url("/revoke")).unwrap();
    let error: EndpointError = revocation.revoke(token("A1 - 0")).await.unwrap_err();
    assert!(RefreshError::find(&error).unwrap().is_transient());
    let header = |_| async { Err::<HeaderValue, _>(RefreshError::grant_ended("device removed")) };
    let endpoint = server.json().header_with(x("x-device"), header);
    assert!(endpoint.refresh(r1()).await.unwrap_err().is_grant_ended());
    assert_eq!(server.count(), 0);
}

/// While the secret is read, the user signs out.
#[tokio::test(start_paused = true)]
async fn p02_a_refresh_token_that_becomes_unwanted_while_a_secret_is_made_is_not_presented() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let cx = || RefreshContext::builder().refresh_token("R1").wanted_while(|| false).build();
    let secret = |_| async { Ok("s".to_owned()) };
    let client = server.client().client_secret_post_with(secret);
    client.refresh_token_grant().refresh(cx()).await.unwrap_err();
    server.json().extra_field_with("secret", secret).refresh(cx()).await.unwrap_err();
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p14_no_debug_output_shows_what_is_sent() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let endpoint = server
        .json()
        .send_refresh_token(TokenPlace::query("r"))
        .extra_field("f", "s3cret")
        .header(x("x-fixed"), HeaderValue::from_static("s3cret"))
        .extra_field_with("/client/secret", |_| async { Ok("s3cret".to_owned()) });
    let client = server.client().client_secret_post_with(|_| async { Ok("s3cret".to_owned()) });
    let token: Token = token("s3cret s3cret 0");
    let shown = format!("{endpoint:?} {client:?} {:?}", token.into_builder());
    assert!(!shown.contains("s3cret"), "{shown}");
}
