use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

use crate::rt::{LONGEST, Nanos, Timestamp};

use super::*;

thread_local! {
    static WIPED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn report_wiped(bytes: &[u8]) {
    let _ = WIPED.try_with(|wiped| wiped.borrow_mut().push(bytes.to_vec()));
}

fn refused(text: &str) -> InvalidToken {
    Token::try_new(text).unwrap_err()
}

#[test]
fn c95_white_space_around_a_token_is_cut_off() {
    assert_eq!(Token::try_new(" A1\r\n").unwrap().access_token(), "A1");
}

#[test]
fn c95_b12_what_no_header_can_carry_is_refused_and_not_shown() {
    assert!(refused("").is_empty());
    assert!(refused(" \n").is_empty());
    assert_eq!(refused("A1\nX").position(), Some(2));
    assert_eq!(refused("A1\nX").to_string(), "the access token has a control character at byte 2");
    assert_eq!(refused("A\u{2011}1").position(), Some(1));
    assert_eq!(refused("A\u{2011}1").to_string(), "the access token has a character outside ASCII at byte 1");
    for text in ["SENTINEL\nX", "SENTINEL\u{2011}"] {
        assert!(!format!("{0} {0:?}", refused(text)).contains("SENTINEL"));
    }
}

#[test]
fn b04_b05_schemes_are_spelt_as_registered() {
    let token = |scheme| Token::builder("A1").scheme(scheme).build();
    assert_eq!(Token::try_new("A1").unwrap().header, "Bearer A1");
    for (told, sent) in
        [("bearer", "Bearer A1"), ("beareR", "Bearer A1"), ("dpoP", "DPoP A1"), ("Own", "Own A1")]
    {
        let token = token(told).unwrap();
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
    let access = token.issue(Stamp { sign_in: 0, generation: 1, flights_ended: 0 }, None);
    assert!(access.header_value().is_sensitive());
    let shown = format!("{token:?} {access:?} {:?} {:?}", access.header_value(), token.refresh_secret());
    assert!(!shown.contains("SENTINEL"), "{shown}");
    assert!(shown.contains("id_token"));
}

#[test]
fn p14_the_buffer_of_the_header_is_wiped_when_its_last_user_is_gone() {
    let token = Token::try_new("SENTINEL-wiped").unwrap();
    let length = "Bearer SENTINEL-wiped".len();
    let wiped = || WIPED.with_borrow(|wiped| wiped.iter().filter(|w| w.len() == length).count());
    let header = token.header.clone();
    drop(token);
    assert_eq!(wiped(), 0, "a clone still uses it");
    drop(header);
    assert_eq!(wiped(), 1);
    assert!(WIPED.with_borrow(|wiped| wiped.iter().all(|w| w.iter().all(|byte| *byte == 0))));
}

#[test]
fn b145_an_answer_without_a_refresh_token_keeps_the_old_one() {
    let old = Token::builder("A1").refresh_token("R1").build().unwrap();
    let without = Token::try_new("A2").unwrap();
    assert_eq!(without.or_refresh_token_of(&old).refresh_token(), Some("R1"));
    let with = Token::builder("A2").refresh_token("R2").build().unwrap();
    assert_eq!(with.or_refresh_token_of(&old).refresh_token(), Some("R2"));
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { wall: (1_000_000 + seconds) * 1_000_000_000, monotonic: seconds * 1_000_000_000 }
}

fn seconds(life: Option<Nanos>) -> Option<i64> {
    life.map(|nanos| nanos / 1_000_000_000)
}

#[test]
fn b34_absurd_lives_are_clamped_and_negative_ones_have_ended() {
    let told = |builder: TokenBuilder| builder.build().unwrap().life(at(0), true).told;
    let token = || Token::builder("A1");
    assert_eq!(told(token().expires_in(Duration::MAX)), Some(LONGEST));
    assert_eq!(told(token().expires_in_seconds(i64::MAX)), Some(LONGEST));
    assert_eq!(told(token().expires_in_seconds(-5)), Some(0));
    assert_eq!(told(token().expires_at(SystemTime::UNIX_EPOCH)), Some(0));
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(told(token().expires_at(far)), Some(LONGEST));
    assert_eq!(told(token()), None);
}

#[test]
fn a_stored_token_with_its_receipt_gets_its_life_back() {
    let mut token = Token::builder("A1").expires_in(Duration::from_secs(600)).build().unwrap();
    token.fix(at(10));
    assert_eq!(token.received_at(), Some(at(10).wall()));
    assert_eq!(token.expires_at(), Some(at(610).wall()));
    let life = token.life(at(110), false);
    assert_eq!((life.received, seconds(life.told), life.remainder), (at(10), Some(600), false));
}

#[test]
fn a_stored_token_without_its_receipt_has_what_is_left() {
    let token = Token::builder("A1").expires_at(at(900).wall()).build().unwrap();
    let life = token.life(at(300), false);
    assert_eq!((life.received, seconds(life.told), life.remainder), (at(300), Some(600), true));
    assert!(!token.life(at(300), true).remainder);
}

#[test]
fn p13_a_receipt_in_the_future_is_now() {
    let token = Token::builder("A1").received_at(at(500).wall()).expires_at(at(800).wall()).build().unwrap();
    let life = token.life(at(100), false);
    assert_eq!((life.received, seconds(life.told)), (at(100), Some(300)));
}
