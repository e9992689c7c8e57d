use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

use crate::rt::{Clock, LONGEST, Nanos, SystemClock, Timestamp};

use super::*;

thread_local! {
    static ZEROED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn report_zeroed(bytes: &[u8]) {
    let _ = ZEROED.try_with(|zeroed| zeroed.borrow_mut().push(bytes.to_vec()));
}

fn invalid(access_token: &str) -> InvalidToken {
    Token::try_new(access_token).unwrap_err()
}

#[test]
fn c95_whitespace_around_a_token_is_trimmed() {
    assert_eq!(Token::try_new(" A1\r\n").unwrap().access_token(), "A1");
}

#[test]
fn c95_b12_an_invalid_header_value_is_an_error_that_does_not_show_it() {
    assert!(invalid("").is_empty());
    assert!(invalid(" \n").is_empty());
    assert_eq!(invalid("A1\nX").position(), Some(2));
    assert_eq!(invalid("A1\nX").to_string(), "the access token has a control character at byte 2");
    assert_eq!(invalid("A\u{2011}1").position(), Some(1));
    assert_eq!(invalid("A\u{2011}1").to_string(), "the access token has a non-ASCII character at byte 1");
    for access_token in ["SENTINEL\nX", "SENTINEL\u{2011}"] {
        assert!(!format!("{0} {0:?}", invalid(access_token)).contains("SENTINEL"));
    }
}

#[test]
fn b04_b05_schemes_are_sent_in_their_registered_spelling() {
    let token = |scheme| Token::builder("A1").scheme(scheme).build();
    assert_eq!(Token::try_new("A1").unwrap().header, "Bearer A1");
    for (given, sent) in
        [("bearer", "Bearer A1"), ("beareR", "Bearer A1"), ("dpoP", "DPoP A1"), ("Own", "Own A1")]
    {
        let token = token(given).unwrap();
        assert_eq!(token.header, sent);
        assert_eq!(token.access_token(), "A1");
    }
    assert_eq!(token("a b").unwrap_err().position(), Some(1));
    assert!(token("").unwrap_err().is_empty());
}

#[test]
fn p14_the_header_is_sensitive_and_nothing_shows_a_secret() {
    let token = Token::builder("SENTINEL-access")
        .refresh_token("SENTINEL-refresh")
        .extra("id_token", "SENTINEL-id")
        .build()
        .unwrap();
    let access = token
        .to_access_token(TokenId { epoch: Epoch { generation: 1, ..Epoch::new() }, flights_ended: 0 }, None);
    assert!(access.header_value().is_sensitive());
    let shown = format!("{token:?} {access:?} {:?} {:?}", access.header_value(), token.refresh_secret());
    assert!(!shown.contains("SENTINEL"), "{shown}");
}

/// A server chooses them, and may repeat a token in them.
#[test]
fn d59_debug_counts_scopes_and_extras_instead_of_showing_them() {
    let long = "SENTINEL".repeat(10_000);
    let mut token = Token::builder("A1").scheme(long.as_str()).scopes((0..1000).map(|_| &long));
    for at in 0..1000 {
        token = token.extra(format!("{at}{long}"), "value");
    }
    for shown in [format!("{token:?}"), format!("{:?}", token.build().unwrap())] {
        assert!(!shown.contains("SENTINEL") && shown.len() < 500, "{shown}");
    }
    let token = Token::builder("A1").scopes(["read", "write"]).extra("id_token", "ID").build().unwrap();
    let shown = format!("{token:?}");
    assert!(
        shown.contains("Bearer") && shown.contains("scopes: Some(2)") && shown.contains("extras: 1"),
        "{shown}"
    );
}

#[test]
fn p14_the_buffer_of_the_header_is_zeroed_when_the_last_reference_is_dropped() {
    let token = Token::try_new("SENTINEL-zeroed").unwrap();
    let length = "Bearer SENTINEL-zeroed".len();
    let zeroed =
        || ZEROED.with_borrow(|zeroed| zeroed.iter().filter(|buffer| buffer.len() == length).count());
    let header = token.header.clone();
    drop(token);
    assert_eq!(zeroed(), 0, "a clone still uses it");
    drop(header);
    assert_eq!(zeroed(), 1);
    assert!(ZEROED.with_borrow(|zeroed| zeroed.iter().flatten().all(|byte| *byte == 0)));
}

#[test]
fn b145_a_response_without_a_refresh_token_keeps_the_current_one() {
    let old = Token::builder("A1").refresh_token("R1").build().unwrap();
    let without = Token::try_new("A2").unwrap();
    assert_eq!(without.or_refresh_token_of(&old).refresh_token(), Some("R1"));
    let with = Token::builder("A2").refresh_token("R2").build().unwrap();
    assert_eq!(with.or_refresh_token_of(&old).refresh_token(), Some("R2"));
}

#[test]
fn d16_a_blank_refresh_token_counts_as_none() {
    let old = Token::builder("A1").refresh_token("R1").build().unwrap();
    for blank in ["", " ", "\r\n\t"] {
        let token = Token::builder("A2").refresh_token(blank).build().unwrap();
        assert_eq!(token.refresh_token(), None);
        assert_eq!(token.or_refresh_token_of(&old).refresh_token(), Some("R1"));
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { wall: (1_000_000 + seconds) * 1_000_000_000, monotonic: seconds * 1_000_000_000 }
}

fn seconds(lifetime: Option<Nanos>) -> Option<i64> {
    lifetime.map(|nanos| nanos / 1_000_000_000)
}

#[test]
fn b34_out_of_range_lifetimes_are_clamped() {
    let reported = |builder: TokenBuilder| builder.build().unwrap().reported_lifetime(at(0), true).reported;
    let token = || Token::builder("A1");
    assert_eq!(reported(token().expires_in(Duration::MAX)), Some(LONGEST));
    assert_eq!(reported(token().expires_in(Duration::ZERO)), Some(0));
    assert_eq!(reported(token().expires_at(SystemTime::UNIX_EPOCH)), Some(0));
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(reported(token().expires_at(far)), Some(LONGEST));
    assert_eq!(reported(token()), None);
}

#[test]
fn a_stored_token_with_its_receipt_keeps_its_lifetime() {
    let mut token = Token::builder("A1").expires_in(Duration::from_secs(600)).build().unwrap();
    token.resolve_times(at(10));
    assert_eq!(token.received_at(), Some(at(10).wall()));
    assert_eq!(token.expires_at(), Some(at(610).wall()));
    let lifetime = token.reported_lifetime(at(110), false);
    assert_eq!(
        (lifetime.received, seconds(lifetime.reported), lifetime.is_remaining),
        (at(10), Some(600), false)
    );
}

/// Such a token can be stored before a session has received it.
#[test]
fn d15_a_token_that_no_session_has_received_is_complete() {
    let before = SystemClock.now().wall();
    let builder = Token::builder("A1").expires_in(Duration::from_secs(600));
    let token = builder.refresh_in(Duration::from_secs(300)).build().unwrap();
    let received = token.received_at().unwrap();
    assert!(before <= received && received <= SystemClock.now().wall());
    assert_eq!(token.expires_at(), Some(received + Duration::from_secs(600)));
    assert_eq!(token.refresh_at(), Some(received + Duration::from_secs(300)));

    let restored = Token::builder("A1").expires_at(token.expires_at()).received_at(token.received_at());
    let restored = restored.refresh_at(token.refresh_at()).build().unwrap();
    let called = Timestamp::new(received + Duration::from_secs(60), Duration::from_secs(60));
    let lifetime = restored.reported_lifetime(called, false);
    assert_eq!((seconds(lifetime.reported), seconds(lifetime.refresh_at)), (Some(600), Some(300)));
    assert_eq!((lifetime.received.wall(), lifetime.is_remaining), (received, false));

    // A session counts by its own clock.
    let mut token = token;
    token.resolve_times(at(10));
    assert_eq!((token.received_at(), token.expires_at()), (Some(at(10).wall()), Some(at(610).wall())));
    assert_eq!(token.refresh_at(), Some(at(310).wall()));
}

#[test]
fn d15_only_a_relative_lifetime_counts_from_the_build() {
    let token = Token::try_new("A1").unwrap();
    assert_eq!((token.expires_at(), token.refresh_at(), token.received_at()), (None, None, None));
    let token = Token::builder("A1").expires_at(at(600).wall()).build().unwrap();
    assert_eq!((token.expires_at(), token.received_at()), (Some(at(600).wall()), None));
    let builder = Token::builder("A1").expires_in(Duration::from_secs(600)).received_at(at(5).wall());
    let token = builder.build().unwrap();
    assert_eq!((token.expires_at(), token.received_at()), (Some(at(605).wall()), Some(at(5).wall())));
}

#[test]
fn a_stored_token_without_its_receipt_has_its_remaining_lifetime() {
    let token = Token::builder("A1").expires_at(at(900).wall()).build().unwrap();
    let lifetime = token.reported_lifetime(at(300), false);
    assert_eq!(
        (lifetime.received, seconds(lifetime.reported), lifetime.is_remaining),
        (at(300), Some(600), true)
    );
    assert!(!token.reported_lifetime(at(300), true).is_remaining);
}

#[test]
fn p13_a_receipt_in_the_future_counts_as_now() {
    let token = Token::builder("A1").received_at(at(500).wall()).expires_at(at(800).wall()).build().unwrap();
    let lifetime = token.reported_lifetime(at(100), false);
    assert_eq!((lifetime.received, seconds(lifetime.reported)), (at(100), Some(300)));
}

#[test]
fn a_string_may_be_missing_in_any_form() {
    let refresh_token = |builder: TokenBuilder| builder.build().unwrap().refresh_token().map(str::to_owned);
    let token = || Token::builder("A1");
    assert_eq!(refresh_token(token().refresh_token("R1")).as_deref(), Some("R1"));
    assert_eq!(refresh_token(token().refresh_token("R1".to_owned())).as_deref(), Some("R1"));
    assert_eq!(refresh_token(token().refresh_token(Some("R1"))).as_deref(), Some("R1"));
    assert_eq!(refresh_token(token().refresh_token(Some("R1".to_owned()))).as_deref(), Some("R1"));
    assert_eq!(refresh_token(token().refresh_token("R1").refresh_token(None::<String>)), None);
    assert_eq!(token().scheme(None::<&str>).build().unwrap().scheme(), "Bearer");
    assert_eq!(token().extra("id_token", None::<&str>).build().unwrap().extra("id_token"), None);
}

#[test]
fn access_tokens_are_equal_if_token_and_generation_are() {
    let token = Token::try_new("A1").unwrap();
    let id = TokenId { epoch: Epoch { generation: 1, ..Epoch::new() }, flights_ended: 0 };
    let access = token.to_access_token(id, None);
    assert_eq!(access, access.deep_clone());
    assert_eq!(access, token.to_access_token(TokenId { flights_ended: 1, ..id }, None), "handed out later");
    assert_ne!(
        access,
        token.to_access_token(TokenId { epoch: Epoch { generation: 2, ..id.epoch }, ..id }, None)
    );
    assert_ne!(access, Token::try_new("A2").unwrap().to_access_token(id, None));
}
