//! Token types and schemes.

use std::sync::{Arc, Mutex};

use tower_reauth::{
    Refresher, Session,
    endpoint::EndpointError,
    event::{EventKind, Warning},
};

use crate::{
    support::clock,
    token_endpoint::{Server, r1, reply},
};

fn typed(token_type: &str) -> String {
    format!(r#"{{"access_token":"A2","expires_in":600{token_type}}}"#)
}

#[tokio::test(start_paused = true)]
async fn c43_bearer_is_sent_in_its_registered_spelling() {
    for name in ["bearer", "BEARER", "Bearer", "bEARER", " bearer "] {
        let server = Server::in_memory([reply(200, typed(&format!(r#","token_type":"{name}""#)))]);
        let token = server.client().refresh_token_grant().refresh(r1()).await.unwrap();
        assert_eq!((token.scheme(), token.access_token()), ("Bearer", "A2"), "{name}");
        assert!(token.warnings().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn c45_t10_another_type_is_a_typed_error_and_nothing_is_sent_as_bearer() {
    for name in ["DPoP", "mac", "N_A", "Bearer2", "urn:ietf:params:oauth:token-type:jwt", "Bearer, DPoP", "7"]
    {
        let server = Server::in_memory([reply(200, typed(&format!(r#","token_type":"{name}""#)))]);
        let refresher = server.client().refresh_token_grant();
        let session = Session::builder(refresher).refresh_token("R1").clock(clock()).build();
        let error = session.token().await.unwrap_err();
        assert!(error.is_misconfigured(), "{name}");
        let found = EndpointError::find(&error).unwrap();
        assert_eq!(found.token_type(), Some(name));
        assert!(found.to_string().contains(name), "{found}");
        assert!(session.try_token().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn c45_t09_without_a_type_it_is_bearer_with_a_warning() {
    for member in ["", r#","token_type":null"#, r#","token_type":"""#, r#","token_type":" ""#] {
        let server = Server::in_memory([reply(200, typed(member))]);
        let warned = Arc::<Mutex<Vec<Warning>>>::default();
        let warnings = Arc::clone(&warned);
        let session = Session::builder(server.client().refresh_token_grant())
            .refresh_token("R1")
            .clock(clock())
            .on_event(move |event| {
                if let EventKind::Warning { warning, .. } = &event.kind {
                    warnings.lock().unwrap().push(warning.clone());
                }
            })
            .build();
        assert_eq!(session.token().await.unwrap().header_value(), "Bearer A2", "{member}");
        assert_eq!(*warned.lock().unwrap(), [Warning::MissingTokenType], "{member}");
    }
}

#[tokio::test(start_paused = true)]
async fn c45_a_configured_scheme_takes_precedence_over_the_response() {
    for member in ["", r#","token_type":"bearer""#, r#","token_type":"mac""#] {
        let server = Server::in_memory([reply(200, typed(member))]);
        let oauth2 = server.client().scheme("dpop").refresh_token_grant().refresh(r1()).await.unwrap();
        assert_eq!(oauth2.scheme(), "DPoP", "{member}");
        let json = server.json().refresh(r1()).await.unwrap();
        assert_eq!(json.scheme(), "Bearer", "{member}");
        let json = server.json().scheme("Token").refresh(r1()).await.unwrap();
        assert_eq!((json.scheme(), json.access_token()), ("Token", "A2"), "{member}");
        assert!(
            json.warnings().is_empty() && oauth2.warnings().is_empty(),
            "a configured scheme needs no token type"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn c45_a_scheme_that_no_header_can_carry_is_an_error() {
    let server = Server::in_memory([reply(200, typed(""))]);
    let error = server.json().scheme("two words").refresh(r1()).await.unwrap_err();
    assert!(error.is_misconfigured());
}
