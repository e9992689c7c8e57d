//! Responses of token endpoints.

use bytes::Bytes;
use http::{Response, Uri};
use serde_json::Value;
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Token,
    endpoint::{EndpointError, Lifetime},
    json::JsonEndpoint,
    oauth2::Client,
};
use url::Url;

use crate::{
    canned::{Canned, URL, parse},
    secret::{SECRET, assert_no_secret, assert_one_line, has_part_of, texts},
    time::{latest, run},
};

/// A response yields a valid token or an error without secrets, and a request goes to no other origin.
///
/// The input is a response as `canned` reads it.
pub fn responses(input: &[u8]) {
    let Some(response) = parse(input) else { return };
    let oauth2 = |canned: &Canned| {
        let client =
            Client::new(canned.endpoint.clone(), "web").client_secret_basic("TOPSECRET-of-the-client");
        client.scopes(["read", "write"]).refresh_token_grant()
    };
    check(&response, "/access_token", oauth2);
    let json = |canned: &Canned| {
        let endpoint = canned.endpoint.clone().access_token_path("/data/access");
        let endpoint = endpoint.new_refresh_token_path("/data/refresh").error_code_path("/errors/0/code");
        JsonEndpoint::new(endpoint.lifetime(Lifetime::milliseconds("/data/ttl")))
    };
    check(&response, "/data/access", json);
}

fn check<R: Refresher>(response: &Response<Bytes>, path: &str, refresher: impl FnOnce(&Canned) -> R) {
    let canned = Canned::new(response.clone());
    let refresher = refresher(&canned);
    let outcome = run(async |clock| {
        let cx = RefreshContext::builder().refresh_token(format!("{SECRET}-R1")).clock(clock).build();
        refresher.refresh(cx).await
    });
    let json = serde_json::from_slice::<Value>(response.body()).ok();
    let stated = json.as_ref().and_then(|json| json.pointer(path)).and_then(Value::as_str);
    match outcome {
        Ok(token) => {
            assert!(response.status().is_success());
            check_token(&token);
            if let Some(stated) = stated {
                assert_eq!(token.access_token(), stated);
            }
        }
        Err(error) => check_error(&error, stated),
    }
    check_requests(&canned.requests.lock().expect("nothing panics with it"));
}

fn check_token(token: &Token) {
    let header = format!("{} {}", token.scheme(), token.access_token().trim());
    assert_eq!(token.header_value().as_bytes(), header.as_bytes());
    assert!(token.header_value().is_sensitive());
    assert!(token.refresh_token().is_none_or(|token| !token.trim().is_empty()));
    assert!(token.scopes().is_none_or(|scopes| scopes.len() <= 32));
    for time in [token.expires_at(), token.refresh_token_expires_at()].into_iter().flatten() {
        assert!(time < latest(), "{time:?}");
    }
    assert_no_secret(&format!("{token:?}"));
}

fn check_error(error: &RefreshError, access_token: Option<&str>) {
    for text in texts(error) {
        assert_one_line(&text);
        assert_no_secret(&text);
        assert!(text.is_ascii(), "{text}");
    }
    assert_no_secret(&format!("{error:?}"));
    let error = EndpointError::find(error).expect("it is the endpoint's");
    let words = ["null", "undefined", "none", "n/a"];
    let token = access_token.filter(|token| !words.contains(&&*token.trim().to_ascii_lowercase()));
    for shown in [error.code(), error.token_type()].into_iter().flatten() {
        assert!(shown.len() <= 64);
        assert!(token.is_none_or(|token| !has_part_of(shown, token)), "{shown}");
    }
}

fn check_requests(requests: &[Uri]) {
    let origin = |url: &str| url.parse::<Url>().expect("it is valid").origin();
    // Three attempts, each with three redirects.
    assert!((1..=12).contains(&requests.len()));
    for request in requests {
        assert_eq!(origin(&request.to_string()), origin(URL));
    }
}
