//! Lifetimes in the wild.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Refresher, Session, endpoint::Lifetime, event::Warning};

use crate::{
    classifier::{Classified, classify},
    support::{BoxError, clock, get, token},
    token_endpoint::{Server, TOKEN, r1, reply},
};

const HUNDRED_YEARS: f64 = 100.0 * 365.0 * 86400.0;

fn body(token: &str, member: &str) -> String {
    format!(r#"{{"access_token":"{token}","token_type":"Bearer","refresh_token":"R2"{member}}}"#)
}

/// The lifetime of a token with this field, and the number of warnings.
async fn parse(lifetime: &Lifetime, member: &str) -> (Option<f64>, usize) {
    let server = Server::in_memory([reply(200, body("A2", member))]);
    let refresher = server.client().lifetime(lifetime.clone()).refresh_token_grant();
    match classify(Session::builder(refresher)).await {
        Classified::Token { lifetime, warnings, .. } => {
            (lifetime.map(|lifetime| lifetime.as_secs_f64()), warnings)
        }
        other => panic!("{member}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn c34_c38_b34_every_number_is_accepted_as_a_lifetime() {
    let seconds = Lifetime::seconds("expires_in");
    for (text, lifetime) in [
        ("5", 5.0),
        ("2.5", 2.5),
        ("3599.0", 3599.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("-0.0", 0.0),
        ("-1e999", 0.0),
        ("1e2", 100.0),
        ("1E+2", 100.0),
        ("1e-9", 1e-9),
        ("1e-999", 0.0),
        ("1e300", HUNDRED_YEARS),
        ("1e999", HUNDRED_YEARS),
        ("9223372036854775807", HUNDRED_YEARS),
        ("18446744073709551615", HUNDRED_YEARS),
        ("18446744073709551616", HUNDRED_YEARS),
        ("-18446744073709551616", 0.0),
    ] {
        for member in [format!(r#","expires_in":{text}"#), format!(r#","expires_in":"{text}""#)] {
            assert_eq!(parse(&seconds, &member).await, (Some(lifetime), 0), "{member}");
        }
        let padded = format!(r#","expires_in":" {text}\n""#);
        assert_eq!(parse(&seconds, &padded).await, (Some(lifetime), 0), "{padded}");
    }
}

#[tokio::test(start_paused = true)]
async fn c34_an_invalid_lifetime_is_unknown_with_one_warning() {
    let seconds = Lifetime::seconds("expires_in");
    for value in [
        r#""abc""#,
        r#""""#,
        r#"" ""#,
        "true",
        "false",
        "[]",
        "[5]",
        "{}",
        r#"{"seconds":5}"#,
        r#""NaN""#,
        r#""inf""#,
        r#""-infinity""#,
        r#""1e""#,
        r#""0x10""#,
        r#""3599s""#,
        r#""1,5""#,
        r#""--5""#,
        r#""5 6""#,
        r#""\ud800""#,
        r#""-""#,
        r#"".""#,
    ] {
        let member = format!(r#","expires_in":{value}"#);
        assert_eq!(parse(&seconds, &member).await, (None, 1), "{member}");
        let default = seconds.clone().or_default(Duration::from_secs(60));
        assert_eq!(parse(&default, &member).await, (Some(60.0), 1), "{member}");
    }
    for member in ["", r#","expires_in":null"#] {
        assert_eq!(parse(&seconds, member).await, (None, 0), "{member}");
        let default = seconds.clone().or_default(Duration::from_secs(60));
        assert_eq!(parse(&default, member).await, (Some(60.0), 0), "{member}");
        assert_eq!(parse(&Lifetime::unknown(), r#","expires_in":5"#).await, (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn c34_other_units_and_places_of_a_lifetime_are_read() {
    // The test's clock starts at second 1,000,000.
    for (place, member, lifetime) in [
        (Lifetime::milliseconds("ms"), r#","ms":1500"#, 1.5),
        (Lifetime::milliseconds("ms"), r#","ms":"1e999""#, HUNDRED_YEARS),
        (Lifetime::unix_time("at"), r#","at":1000060"#, 60.0),
        (Lifetime::unix_time("at"), r#","at":"1000060.5""#, 60.5),
        (Lifetime::seconds("/data/ttl"), r#","data":{"ttl":7}"#, 7.0),
        (Lifetime::seconds("/a~1b/c~0d"), r#","a/b":{"c~d":"7"}"#, 7.0),
        (Lifetime::seconds("expires_in"), r#","expires_in":5,"expires_in":6"#, 6.0),
    ] {
        assert_eq!(parse(&place, member).await, (Some(lifetime), 0), "{member}");
    }
}

#[tokio::test(start_paused = true)]
async fn c36_a_lifetime_of_zero_causes_no_storm_if_the_server_accepts_the_token() {
    let replies = (2..20).map(|n| reply(200, body(&format!("A{n}"), r#","expires_in":0"#)));
    let server = Server::in_memory(replies);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).jitter(false).build();
    for call in 0..100 {
        session.token().await.unwrap_or_else(|error| panic!("call {call}: {error}"));
        advance(Duration::from_millis(100)).await;
    }
    // At 0, 1, 2.6, 5.2 and 9.3 s.
    assert_eq!(server.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn c36_a_lifetime_of_zero_causes_no_storm_if_the_server_rejects_the_token() {
    let replies = (2..20).map(|n| reply(200, body(&format!("A{n}"), r#","expires_in":0"#)));
    let server = Server::in_memory(replies);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).jitter(false).build();
    let sent = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&sent);
    let api = service_fn(move |_: Request<()>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut refused = Response::new(());
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        std::future::ready(Ok::<_, BoxError>(refused))
    });
    let client = AuthLayer::from_session(session).layer(api);
    for call in 0..100 {
        let before = sent.load(Ordering::SeqCst);
        // At most two attempts, whatever the result.
        let _ = client.clone().oneshot(get()).await;
        assert!(sent.load(Ordering::SeqCst) <= before + 2, "call {call}");
        advance(Duration::from_millis(100)).await;
    }
    assert!((2..=5).contains(&server.count()), "{}", server.count());
}

#[tokio::test(start_paused = true)]
async fn c37_a_response_without_a_lifetime_causes_no_storm() {
    let server = Server::in_memory([reply(200, body("A2", ""))]);
    let refresher = server.client().refresh_token_grant();
    let session = Session::builder(refresher).token(token("A1 R1 5")).clock(clock()).build();
    advance(Duration::from_secs(8)).await;
    for _ in 0..50 {
        assert_eq!(session.token().await.unwrap().secret(), "A2");
        advance(Duration::from_secs(60)).await;
    }
    assert_eq!(server.count(), 1);
    // It is used until a server rejects it.
    session.mark_rejected(&session.try_token().unwrap());
    let _ = session.token().await;
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn c38_a_token_with_an_excessive_lifetime_is_not_refreshed_within_a_year() {
    for lifetime in ["18446744073709551615", "9223372036854775807", "1e300", "1e999"] {
        let server = Server::in_memory([reply(200, body("A2", &format!(r#","expires_in":{lifetime}"#)))]);
        let refresher = server.client().refresh_token_grant();
        let session = Session::builder(refresher).refresh_token("R1").clock(clock()).build();
        for _ in 0..=365 {
            assert_eq!(session.token().await.unwrap().secret(), "A2");
            advance(Duration::from_secs(86_400)).await;
        }
        assert!(session.status().is_fresh());
        assert_eq!(server.count(), 1, "{lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn c37_a_lifetime_missing_from_its_configured_place_is_a_warning() {
    let server = Server::in_memory([reply(200, TOKEN)]);
    let warnings = async |lifetime| {
        let token = server.json().lifetime(lifetime).refresh(r1()).await.unwrap();
        token.warnings().to_vec()
    };
    assert_eq!(warnings(Lifetime::unix_time("/session/expires")).await, [Warning::MissingLifetime]);
    assert_eq!(warnings(Lifetime::milliseconds("ttl")).await, [Warning::MissingLifetime]);
    // An optional field may be missing, and so may one with a default.
    assert_eq!(warnings(Lifetime::seconds("expires_in")).await, []);
    assert_eq!(warnings(Lifetime::milliseconds("ttl").or_default(Duration::from_secs(60))).await, []);
    assert_eq!(warnings(Lifetime::unknown()).await, []);
}

#[tokio::test(start_paused = true)]
async fn d78_refresh_in_sets_when_a_token_is_due() {
    let body = r#"{"access_token":"A2","token_type":"Bearer","expires_in":3600,"refresh_in":1000}"#;
    let server = Server::in_memory([reply(200, body)]);
    for grant in [Session::builder(server.client().refresh_token_grant()), Session::builder(server.json())] {
        let session = grant.refresh_token("R1").clock(clock()).jitter(false).build();
        session.token().await.unwrap();
        advance(Duration::from_secs(999)).await;
        assert!(session.status().is_fresh());
        advance(Duration::from_secs(2)).await;
        assert!(!session.status().is_fresh(), "due");
        assert!(session.try_token().is_some());
    }
    for none in ["0", "-5", r#""soon""#, "null", "{}"] {
        let body =
            format!(r#"{{"access_token":"A2","token_type":"Bearer","expires_in":3600,"refresh_in":{none}}}"#);
        let token = Server::in_memory([reply(200, body)]).json().refresh(r1()).await.unwrap();
        assert_eq!(token.refresh_at(), None, "{none}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_tokens_own_lifetime_is_kept_with_it() {
    use tower_reauth::rt::Clock;

    let saved = Arc::<std::sync::Mutex<Vec<tower_reauth::Token>>>::default();
    let expiries = [
        (r#","refresh_expires_in":100"#, Some(100)),
        // Neither a refresh token nor a lifetime of it: as before.
        ("", Some(100)),
        (r#","refresh_token_expires_in":"200""#, Some(200)),
        (r#","x_refresh_token_expires_in":300"#, Some(300)),
        (r#","refresh_token":"R9""#, None),
        (r#","refresh_token":"R10","refresh_expires_in":0"#, None),
        (r#","refresh_token":"R11","refresh_expires_in":1900000000"#, Some(1_900_000_000 - 1_000_000)),
    ];
    let replies = expiries.iter().enumerate().map(|(n, (fields, _))| {
        reply(200, format!(r#"{{"access_token":"A{n}","token_type":"Bearer","expires_in":3600{fields}}}"#))
    });
    let server = Server::in_memory(replies);
    let (clock, save) = (clock(), Arc::clone(&saved));
    let session = Session::builder(server.client().refresh_token_grant())
        .refresh_token("R1")
        .clock(clock.clone())
        .save_with(move |token| {
            save.lock().unwrap().extend(token);
            std::future::ready(Ok::<_, std::convert::Infallible>(()))
        })
        .build();
    for (n, (fields, expected)) in expiries.iter().enumerate() {
        session.refresh().await.unwrap();
        let token = saved.lock().unwrap()[n].clone();
        let left = token.refresh_token_expires_at().map(|at| at.duration_since(clock.now().wall()).unwrap());
        assert_eq!(left.map(|left| left.as_secs()), *expected, "{fields}");
    }
    // Set otherwise, and by hand.
    let server = Server::in_memory([reply(
        200,
        r#"{"access_token":"A2","ends":"2099-01-01T00:00:00Z","refresh_token":"R2"}"#,
    )]);
    let endpoint = server.json().refresh_token_lifetime(Lifetime::unix_time("ends"));
    let token = endpoint.refresh(r1()).await.unwrap();
    let ends = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(4_070_908_800);
    assert_eq!(token.refresh_token_expires_at(), Some(ends));
    // A time of 0 stands for "never", too.
    let body = r#"{"access_token":"A2","ends":0,"refresh_token":"R2"}"#;
    let server = Server::in_memory([reply(200, body)]);
    let endpoint = server.json().refresh_token_lifetime(Lifetime::unix_time("ends"));
    assert_eq!(endpoint.refresh(r1()).await.unwrap().refresh_token_expires_at(), None);
    let restored =
        tower_reauth::Token::builder("A2").refresh_token("R2").refresh_token_expires_at(ends).build();
    assert_eq!(restored.unwrap().refresh_token_expires_at(), Some(ends));
}
