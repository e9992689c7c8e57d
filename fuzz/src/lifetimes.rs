//! Lifetimes of tokens, and expiry times.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use tower_reauth::{Session, Token, endpoint::Lifetime, oauth2::Client};

use crate::{
    canned::Canned,
    time::{latest, run, start},
};

/// Any lifetime yields a token, and is read alike from a number, a string and a form.
///
/// The input is a kind of lifetime, and on the next line a JSON value, or the claims of a JWT.
pub fn lifetimes(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let Some((kind, value)) = input.split_once('\n') else { return };
    let value = value.trim();
    let lifetime = match kind {
        "seconds" => Lifetime::seconds("x"),
        "milliseconds" => Lifetime::milliseconds("x"),
        "unix_time" => Lifetime::unix_time("x"),
        "unix_time_millis" => Lifetime::unix_time_millis("x"),
        "jwt_exp" => {
            let token = format!("e30.{}.s", URL_SAFE_NO_PAD.encode(value));
            let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
            // Longer tokens aren't looked into.
            if let Some(token) = obtain(Lifetime::jwt_exp(), &body) {
                check(&token);
            }
            return;
        }
        _ => return,
    };
    let body = |value: &str| {
        format!(
            r#"{{"access_token":"A2","token_type":"Bearer","x":{value},"refresh_expires_in":{value},"refresh_in":{value}}}"#
        )
    };
    let Some(token) = obtain(lifetime.clone(), &body(value)) else { return };
    check(&token);
    match serde_json::from_str::<serde_json::Value>(value) {
        Ok(serde_json::Value::Number(number)) => {
            let as_string = obtain(lifetime, &body(&format!("\"{value}\""))).expect("it is a token, too");
            assert_eq!(expiries(&token), expiries(&as_string));
            if let Some(expiry) = number.as_u64().and_then(|number| expiry(kind, number)) {
                assert_eq!(token.expires_at(), Some(expiry));
            }
        }
        Ok(serde_json::Value::String(text)) if !text.contains(['+', '%', '&', ' ', '<', '\n']) => {
            let form = format!(
                "access_token=A2&token_type=Bearer&x={text}&refresh_expires_in={text}&refresh_in={text}"
            );
            let as_form = obtain(lifetime, &form).expect("it is a token, too");
            assert_eq!(expiries(&token), expiries(&as_form));
        }
        _ => {}
    }
}

/// When a token expires whose lifetime is stated as configured.
fn expiry(kind: &str, number: u64) -> Option<SystemTime> {
    match kind {
        "seconds" if number < 1_000_000_000 => Some(start() + Duration::from_secs(number)),
        "milliseconds" if number < 1_000_000_000_000 => Some(start() + Duration::from_millis(number)),
        "unix_time" if number < 100_000_000_000 => Some(SystemTime::UNIX_EPOCH + Duration::from_secs(number)),
        _ => None,
    }
}

/// The token of a session whose endpoint returns this body.
fn obtain(lifetime: Lifetime, body: &str) -> Option<Token> {
    let canned = Canned::new(Response::new(Bytes::from(body.to_owned())));
    let refresher = Client::new(canned.endpoint.lifetime(lifetime), "web").refresh_token_grant();
    let saved = Arc::<Mutex<Option<Token>>>::default();
    let save = Arc::clone(&saved);
    run(async |clock| {
        let session = Session::builder(refresher).refresh_token("R1").clock(clock).save_with(move |token| {
            *save.lock().expect("nothing panics with it") = token;
            ready(Ok::<_, Infallible>(()))
        });
        let session = session.build();
        let _ = session.token().await;
        let _ = session.status();
        let _ = session.try_token();
    });
    saved.lock().expect("nothing panics with it").take()
}

fn expiries(token: &Token) -> [Option<SystemTime>; 3] {
    [token.expires_at(), token.refresh_at(), token.refresh_token_expires_at()]
}

fn check(token: &Token) {
    assert_eq!(token.received_at(), Some(start()));
    for time in expiries(token).into_iter().flatten() {
        assert!((SystemTime::UNIX_EPOCH..latest()).contains(&time), "{token:?}");
    }
}
