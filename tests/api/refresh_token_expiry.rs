//! The refresh token's own expiry: the status shows it, and the session warns of it in time.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::advance;
use tower_reauth::{
    RefreshError, Session, Token, TokenBuilder,
    event::{Event, EventKind, Warning},
};

use crate::support::{Endpoint, clock, endpoint, spawn_refresh};

/// The times, in seconds since `clock` was made, at which the refresh tokens expire that the session warned of.
#[derive(Clone, Default)]
struct Warned(Arc<Mutex<Vec<u64>>>);

/// A time, in seconds since `clock` was made.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A token that is fresh throughout a test.
fn fresh(access_token: &str) -> TokenBuilder {
    Token::builder(access_token).expires_in(days(3650))
}

/// A fresh token whose refresh token expires at this time.
fn expiring(access_token: &str, refresh_token: &str, expiry: u64) -> Token {
    fresh(access_token).refresh_token(refresh_token).refresh_token_expires_at(at(expiry)).build().unwrap()
}

fn session(token: Token) -> (Session, Endpoint, Warned) {
    let (refresher, endpoint) = endpoint();
    let warned = Warned::default();
    let session = Session::builder(refresher).token(token).clock(clock()).on_event(warned.listener()).build();
    (session, endpoint, warned)
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

const DAY: u64 = 86_400;

// === impl Warned ===

impl Warned {
    fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let warned = self.clone();
        move |event| {
            let EventKind::Warning { warning, .. } = &event.kind else { return };
            let Warning::RefreshTokenExpiresSoon { expires_at, .. } = warning else { return };
            warned.0.lock().unwrap().push(expires_at.duration_since(at(0)).unwrap().as_secs());
        }
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A refresh that returns this token.
async fn refresh(session: &Session, endpoint: &mut Endpoint, token: Token) {
    let refresh = spawn_refresh(session);
    endpoint.next_call().await.return_token(token);
    refresh.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_when_the_refresh_token_expires() {
    let (session, mut endpoint, _) = session(expiring("A1", "R1", 1000));
    let expiry = || session.status().refresh_token_expires_at();
    assert_eq!(expiry(), Some(at(1000)));
    // A response that states no other keeps it, whether it repeats the refresh token or not.
    refresh(&session, &mut endpoint, fresh("A2").build().unwrap()).await;
    assert_eq!(expiry(), Some(at(1000)));
    refresh(&session, &mut endpoint, fresh("A3").refresh_token("R1").build().unwrap()).await;
    assert_eq!(expiry(), Some(at(1000)));
    refresh(&session, &mut endpoint, expiring("A4", "R1", 2000)).await;
    assert_eq!(expiry(), Some(at(2000)));
    refresh(&session, &mut endpoint, fresh("A5").refresh_token_expires_at(at(3000)).build().unwrap()).await;
    assert_eq!(expiry(), Some(at(3000)));
    session.set_token(fresh("B1").refresh_token_expires_at(at(4000)).build().unwrap()).unwrap();
    assert_eq!(expiry(), Some(at(4000)));
    refresh(&session, &mut endpoint, fresh("A6").refresh_token("R2").build().unwrap()).await;
    assert_eq!(expiry(), None);
    session.sign_in(expiring("C1", "Q1", 5000));
    assert_eq!(expiry(), Some(at(5000)));
    // The expiry of one that was exchanged already isn't its successor's.
    refresh(&session, &mut endpoint, expiring("C2", "Q2", 6000)).await;
    session.set_token(expiring("C3", "Q1", 5000)).unwrap();
    assert_eq!(expiry(), Some(at(6000)));
    let _ = session.sign_out();
    assert_eq!(expiry(), None);
}

/// Each refresh in turn: the seconds before it, the token that it returns, and the warnings.
async fn expect(start: Token, refreshes: impl IntoIterator<Item = (u64, Token, Vec<u64>)>) {
    let (session, mut endpoint, warned) = session(start);
    for (seconds, token, expected) in refreshes {
        advance(Duration::from_secs(seconds)).await;
        let name = token.access_token().to_owned();
        refresh(&session, &mut endpoint, token).await;
        assert_eq!(warned.take(), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_in_the_last_tenth_of_the_refresh_token_s_lifetime_warns_once() {
    let kept = |name| fresh(name).build().unwrap();
    let steps = [(899, kept("A2"), vec![]), (1, kept("A3"), vec![1000]), (50, kept("A4"), vec![])];
    expect(expiring("A1", "R1", 1000), steps).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_for_a_token_warns_whether_it_uses_a_stale_token_or_waits() {
    for (lifetime, waits) in [(950, true), (1000, false)] {
        let token = Token::builder("A1").expires_in(Duration::from_secs(lifetime)).refresh_token("R1");
        let token = token.refresh_in(Duration::from_secs(800)).refresh_token_expires_at(at(1000));
        let (session, _endpoint, warned) = session(token.build().unwrap());
        advance(Duration::from_secs(930)).await;
        let mut demand = tokio_test::task::spawn(session.token());
        assert_eq!(demand.poll().is_pending(), waits);
        assert_eq!(warned.take(), [1000]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_warning_comes_at_most_seven_days_before_the_expiry() {
    let kept = |name| fresh(name).build().unwrap();
    let steps = [(358 * DAY - 1, kept("A2"), vec![]), (1, kept("A3"), vec![365 * DAY])];
    expect(expiring("A1", "R1", 365 * DAY), steps).await;
}

/// The lifetime counts from the first receipt. A server may round the expiry differently.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_keeps_the_refresh_token_and_its_expiry_repeats_no_warning() {
    let steps = [
        (500, fresh("A2").build().unwrap(), vec![]),
        (390, expiring("A3", "R1", 1001), vec![]),
        (20, expiring("A4", "R1", 1000), vec![1001]),
        (10, fresh("A5").build().unwrap(), vec![]),
        (10, fresh("A6").refresh_token("R1").build().unwrap(), vec![]),
        (10, expiring("A7", "R1", 1000), vec![]),
        (10, expiring("A8", "R1", 1000), vec![]),
    ];
    expect(expiring("A1", "R1", 1000), steps).await;
}

#[tokio::test(start_paused = true)]
async fn each_refresh_token_and_each_new_expiry_has_its_own_warning() {
    let steps = [
        // Received at 95, with a lifetime of 1000 s.
        (95, expiring("A2", "R2", 1095), vec![100]),
        (899, fresh("A3").build().unwrap(), vec![]),
        // The same one with another expiry: its lifetime counts from this response, at 995.
        (1, expiring("A4", "R2", 1995), vec![1095]),
        (899, fresh("A5").build().unwrap(), vec![]),
        (1, expiring("A6", "R3", 2995), vec![1995]),
        (50, fresh("A7").build().unwrap(), vec![]),
    ];
    expect(expiring("A1", "R1", 100), steps).await;
}

#[tokio::test(start_paused = true)]
async fn another_sign_in_and_a_set_token_have_their_own_warning() {
    let (session, mut endpoint, warned) = session(expiring("A1", "R1", 100));
    let mut warned_after = async |seconds| {
        advance(Duration::from_secs(seconds)).await;
        session.reset_backoff();
        refresh(&session, &mut endpoint, fresh("A2").build().unwrap()).await;
        warned.take()
    };
    assert_eq!(warned_after(90).await, [100]);
    session.sign_in(expiring("B1", "R1", 100));
    assert_eq!((warned_after(8).await, warned_after(1).await), (vec![], vec![100]));
    session.set_token(expiring("B2", "R2", 199)).unwrap();
    assert_eq!((warned_after(89).await, warned_after(1).await), (vec![], vec![199]));
    session.set_token(expiring("B3", "R2", 199)).unwrap();
    assert_eq!(warned_after(1).await, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restored_refresh_token_s_lifetime_counts_from_its_receipt() {
    for (received_at, expected) in [(Some(at(0) - Duration::from_secs(900)), vec![100]), (None, vec![])] {
        let token = fresh("A1").refresh_token("R1").refresh_token_expires_at(at(100));
        let token = token.received_at(received_at).build().unwrap();
        expect(token, [(0, fresh("A2").build().unwrap(), expected)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_warned_of_an_unknown_expiry_or_of_an_ended_grant() {
    let (session, mut endpoint, warned) = session(fresh("A1").refresh_token("R1").build().unwrap());
    advance(days(100)).await;
    refresh(&session, &mut endpoint, expiring("A2", "R2", 110 * DAY)).await;
    let refused = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    refused.await.unwrap().unwrap_err();
    advance(days(10)).await;
    session.refresh().await.unwrap_err();
    assert_eq!(warned.take(), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_is_first_reported_by_a_refresh_is_warned_of() {
    let kept = fresh("A3").build().unwrap();
    let steps = [(0, expiring("A2", "R1", 1000), vec![]), (950, kept, vec![1000])];
    expect(fresh("A1").refresh_token("R1").build().unwrap(), steps).await;
}
