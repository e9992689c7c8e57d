//! Nothing that is printed shows a secret or the body of a response.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tower_reauth::{
    RefreshContext, Refresher, RefresherExt, Session, Token,
    endpoint::{EndpointError, ErrorClassifier},
};
use tracing_subscriber::layer::SubscriberExt;

use crate::{
    canned,
    support::{
        clock,
        printed::{Printed, SECRET},
        sources,
    },
    token_endpoint::{Reply, Server, reply},
};

fn context() -> RefreshContext {
    RefreshContext::builder().refresh_token(format!("{SECRET}-R1")).build()
}

/// Responses with secrets and without a usable token.
fn responses() -> Vec<Reply> {
    let text = |status, body: &str| reply(status, body.replace("$", SECRET));
    vec![
        text(
            400,
            r#"{"error":"invalid_grant","error_description":"$\r\nforged line","error_codes":[700084],"suberror":"$"}"#,
        ),
        text(
            422,
            r#"{"detail":[{"loc":["body"],"msg":"$","input":{"refresh_token":"$-R1","client_secret":"$"}}]}"#,
        ),
        text(401, r#"{"error":{"message":"$","type":"x","param":"$","code":"refresh_token_reused"}}"#),
        text(200, r#"{"error":"bad_refresh_token","error_description":"$","error_uri":"$"}"#),
        text(200, "<html>$</html>").header("content-type", "text/html"),
        text(200, r#"{"access_token":"$-A2"#),
        text(200, r#"{"access_token":"$-A2\n$","refresh_token":"$-R2"}"#),
        text(200, r#"{"access_token":"$é"}"#),
        text(200, r#"{"access_token":"$","token_type":"mac","refresh_token":"$"}"#),
        text(200, r#"{"token":"$"}"#),
        text(200, "access_token$"),
        text(500, "$"),
        text(302, "$").header("location", "https://evil.example.com/?SENTINEL#SENTINEL"),
        text(307, "$").header("location", "https://SENTINEL:SENTINEL@evil.example.com/"),
        text(307, "$").header("location", "SENTINEL"),
        text(503, "$").header("retry-after", "SENTINEL").header("www-authenticate", "SENTINEL"),
        text(200, &"$".repeat(64 * 1024)),
        text(200, "$").closed(),
    ]
}

#[tokio::test(start_paused = true)]
async fn p14_t21_t30_no_part_of_a_response_reaches_an_error_or_the_log() {
    let printed = Printed::default();
    let log = printed.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || log.clone()).with_ansi(false);
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    for response in responses() {
        let server = Server::in_memory([response]);
        let client = server.client().max_response_size(100_000);
        let error = client.refresh_token_grant().refresh(context()).await.unwrap_err();
        printed.add_error(&error);
        let endpoint = server.json().scheme(SECRET).max_response_size(100_000);
        if let Err(error) = endpoint.refresh(context()).await {
            printed.add_error(&error);
        }
        let revocation = client.revocation("https://id.example.com/revoke").unwrap();
        let token = Token::builder(format!("{SECRET}-A1")).refresh_token(format!("{SECRET}-R1")).build();
        if let Err(error) = revocation.revoke(&token.unwrap()).await {
            printed.add_error(&error);
        }
        let events = printed.clone();
        let session = Session::builder(server.client().refresh_token_grant())
            .refresh_token(format!("{SECRET}-R1"))
            .clock(clock())
            .on_event(move |event| events.add(event))
            .build();
        printed.add_error(&session.token().await.unwrap_err());
        printed.add(&session);
    }
    printed.assert_no_secret();
}

/// Such as the debug data of an HTTP/2 GOAWAY.
#[tokio::test(start_paused = true)]
async fn d73_a_servers_text_in_a_transports_error_is_a_source_alone_and_not_logged() {
    let printed = Printed::default();
    let log = printed.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || log.clone()).with_ansi(false);
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let transport = tower::service_fn(|request: http::Request<tower_reauth::endpoint::RequestBody>| {
        let _ = request.into_body().into_bytes();
        std::future::ready(Err::<http::Response<String>, _>(std::io::Error::other(SECRET)))
    });
    let client = tower_reauth::oauth2::Client::try_with_transport("https://a.example.com", "app", transport);
    let session =
        Session::builder(client.unwrap().refresh_token_grant()).refresh_token("R1").clock(clock()).build();
    let error = session.token().await.unwrap_err();
    let messages: Vec<_> = sources(&error).map(ToString::to_string).collect();
    let (transports, ours) = messages.split_last().unwrap();
    assert_eq!((ours.len(), transports.as_str()), (3, SECRET));
    for message in ours {
        tracing::info!("{message}");
    }
    printed.assert_no_secret();
}

#[tokio::test(start_paused = true)]
async fn d54_t21_a_code_is_shown_as_written_but_has_no_control_characters_and_is_truncated() {
    let long = "x".repeat(1000);
    for (code, shown) in [
        ("inva\\r\\nlid\\u001b[31m_\\u202egrant\\u0000", "invalid[31m_grant"),
        ("invalid grant", "invalid grant"),
        (" invalid_grant\\n", "invalid_grant"),
        (&long, &long[..64]),
        ("d\\u00e9j\\u00e0", "dj"),
    ] {
        let server = Server::in_memory([reply(400, format!(r#"{{"error":"{code}"}}"#))]);
        let error = server.client().refresh_token_grant().refresh(context()).await.unwrap_err();
        let found = EndpointError::find(&error).unwrap();
        assert_eq!(found.code(), Some(shown));
        assert!(!found.to_string().contains(char::is_control));
    }
    // Without a visible character there is no code.
    let server = Server::in_memory([reply(400, r#"{"error":"\r\n\u0007é"}"#)]);
    let error = server.client().refresh_token_grant().refresh(context()).await.unwrap_err();
    assert_eq!(EndpointError::find(&error).unwrap().code(), None);
}

#[tokio::test(start_paused = true)]
async fn p14_no_debug_shows_a_clients_secrets() {
    let printed = Printed::default();
    let server = Server::in_memory([reply(500, "")]);
    let client = || server.client().extra_param("key", SECRET).error_classifier(ErrorClassifier::new());
    printed.add(client().client_secret_basic(SECRET));
    printed.add(client().client_secret_post(SECRET).refresh_token_grant());
    printed
        .add(client().client_assertion(|| Ok::<_, std::io::Error>(SECRET.into())).client_credentials_grant());
    printed.add(client().client_secret_post(SECRET).revocation("https://id.example.com/").unwrap());
    let endpoint = server
        .json()
        .extra_field("secret", SECRET)
        .header(HeaderName::from_static("x-api-key"), HeaderValue::from_static(SECRET));
    printed.add(&endpoint);
    printed.add(endpoint.revocation("https://api.example.com/").unwrap());
    printed.add(context());
    let refresher = client().client_secret_post(SECRET).refresh_token_grant();
    let refresher = refresher.timeout(Duration::from_secs(1)).confirm_grant_ended(Duration::ZERO);
    printed.add(refresher.map_err(|error| error));
    printed.assert_no_secret();
}

#[tokio::test(start_paused = true)]
async fn p14_header_values_with_secrets_are_marked_sensitive() {
    let printed = Printed::default();
    let seen = printed.clone();
    let transport = tower::service_fn(move |request: http::Request<tower_reauth::endpoint::RequestBody>| {
        assert!(request.headers().get("authorization").is_none_or(HeaderValue::is_sensitive));
        assert!(request.headers().get("x-api-key").is_none_or(HeaderValue::is_sensitive));
        seen.add(&request);
        std::future::ready(Ok::<_, std::io::Error>(http::Response::new(String::new())))
    });
    let client =
        tower_reauth::oauth2::Client::try_with_transport("https://a.example.com", "app", transport.clone());
    let _ = client.unwrap().client_secret_basic(SECRET).refresh_token_grant().refresh(context()).await;
    let endpoint = tower_reauth::json::JsonEndpoint::try_with_transport("https://a.example.com", transport);
    let header = HeaderValue::from_static(SECRET);
    let _ = endpoint.unwrap().header(HeaderName::from_static("x-api-key"), header).refresh(context()).await;
    printed.assert_no_secret();
}

#[tokio::test]
async fn p14_a_token_echoed_as_an_error_code_is_not_shown() {
    let secret = "R1-opaque-and-secret";
    for body in [
        r#"{"error":"R1-opaque-and-secret"}"#,
        r#"{"error":"refresh token R1-opaque-and-secret is unknown"}"#,
        r#"{"error":"this is a long way to say that there is no refresh token R1-opaque-and-secret"}"#,
    ] {
        for error in [
            canned::json(400, body).refresh(canned::r1()).await.unwrap_err(),
            canned::client(400, body).refresh_token_grant().refresh(canned::r1()).await.unwrap_err(),
        ] {
            let found = EndpointError::find(&error).unwrap();
            let shown = format!("{found} {error:?} {:?}", found.code());
            assert!(!shown.contains(&secret[..4]), "{shown}");
        }
        let token = Token::builder("A1-opaque").refresh_token(secret).build().unwrap();
        let revocation = canned::client(400, body).revocation(canned::URL).unwrap();
        let shown = format!("{:?}", revocation.revoke(&token).await.unwrap_err());
        assert!(!shown.contains(&secret[..4]), "{shown}");
    }
}

/// Everything that is printed about a failed refresh with these secrets.
async fn printed(status: u16, content_type: &str, location: &str, body: &'static str) -> String {
    let response = reply(status, body).header("content-type", content_type).header("location", location);
    let server = Server::in_memory([response]);
    let token = Token::builder("A1-opaque-and-secret").refresh_token("R1-opaque-and-secret").build().unwrap();
    let cx = || RefreshContext::builder().token(token.clone()).build();
    let client = || server.client().extra_param("pin", "pin-of-the-user");
    let basic = client().client_secret_basic("client+secret/opaque").refresh_token_grant();
    let post = client().client_secret_post("client+secret/opaque").refresh_token_grant();
    let json = server
        .json()
        .extra_field("pin", "pin-of-the-user")
        .header(HeaderName::from_static("x-api-key"), HeaderValue::from_static("client+secret/opaque"));
    let errors = [basic.refresh(cx()).await, post.refresh(cx()).await, json.refresh(cx()).await]
        .map(Result::unwrap_err);
    let printed: Vec<_> = errors
        .iter()
        .map(|error| {
            let found = EndpointError::find(error).unwrap();
            format!("{found} {error:?} {:?}", found.code())
        })
        .collect();
    printed.join("\n").to_lowercase()
}

#[tokio::test(start_paused = true)]
async fn d58_no_secret_of_the_exchange_is_shown_in_any_spelling() {
    for (status, body) in [
        (400, r#"{"error":"R1-opaque-and-secret"}"#),
        (400, r#"{"error":"R1-opaque -and-secret"}"#),
        (400, r#"{"error":"R1-opa\nque-and-\r\nsecret"}"#),
        (400, r#"{"error":"%52%31%2Dopaque%2Dand%2Dsecret"}"#),
        (400, r#"{"error":"unknown: opaque-and"}"#),
        (400, r#"{"error":"r1-OPAQUE-and-secret"}"#),
        (400, r#"{"error":"A1-opaque-and-secret"}"#),
        (400, r#"{"error":"bad secret client+secret/opaque"}"#),
        (400, r#"{"error":"client%2Bsecret%2Fopaque"}"#),
        (400, r#"{"error":"pin-of-the-user"}"#),
        (200, r#"{"error":"new-opaque-token","access_token":"new-opaque-token"}"#),
        (200, r#"{"error":"new-opaque-token","access_token":"A2","refresh_token":"new-opaque-token"}"#),
    ] {
        let printed = printed(status, "application/json", "", body).await;
        for part in ["opaque", "pin-of"] {
            assert!(!printed.contains(part), "{body}: {printed}");
        }
    }
    // What has nothing in common with a secret is shown.
    let shown = printed(400, "application/json", "", r#"{"error":"bad_refresh_token_value"}"#).await;
    assert_eq!(shown.matches("`bad_refresh_token_value`").count(), 3, "{shown}");
}

#[tokio::test(start_paused = true)]
async fn d58_a_content_type_a_token_type_and_a_redirect_show_no_secret() {
    let content_type = printed(400, "text/R1-opaque-and-secret", "", "<html>").await;
    assert!(content_type.contains("6 bytes of unknown type"), "{content_type}");
    let redirect = printed(302, "", "https://r1-opaque-and-secret.example.com/", "").await;
    assert!(redirect.contains("redirects") && !redirect.contains("opaque"), "{redirect}");
    let body = r#"{"access_token":"new-opaque-token","token_type":"New-Opaque-Token"}"#;
    let error = canned::client(200, body).refresh_token_grant().refresh(canned::r1()).await.unwrap_err();
    let found = EndpointError::find(&error).unwrap();
    assert_eq!(found.token_type(), Some(""));
}

#[tokio::test]
async fn p14_a_token_echoed_as_a_token_type_is_not_shown() {
    let body = r#"{"access_token":"A2","token_type":"R1-opaque-and-secret"}"#;
    let error = canned::client(200, body).refresh_token_grant().refresh(canned::r1()).await.unwrap_err();
    let found = EndpointError::find(&error).unwrap();
    assert!(found.token_type().is_some());
    let shown = format!("{found} {error:?} {:?}", found.token_type());
    assert!(!shown.contains("R1-o"), "{shown}");
}
