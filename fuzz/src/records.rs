//! Records in a token store.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, Value};
use tower_reauth::{
    Error, RefreshContext, RefreshError, Session, Token, refresh_fn,
    rt::TestClock,
    store::{MemoryStore, Record, SharedSession, StoreError, TokenStore},
};

use crate::{
    secret::{SECRET, assert_no_secret, assert_one_line, texts},
    time::run,
};

/// A record is used, or it is left as it is and no token is requested. No error shows its contents, except for the
/// process that holds the claim.
///
/// The input is a record.
pub fn records(input: &[u8]) {
    run(async |clock| {
        let store = MemoryStore::new();
        store.swap(None, &Record::from_bytes(input)).await.expect("a store in memory doesn't fail");
        let calls = Arc::<AtomicUsize>::default();
        let shared = open(&clock, &store, &calls);
        match shared.load().await {
            Ok(()) => check_use(&clock, &store, &calls, &shared).await,
            Err(error) => {
                check_unreadable(&error);
                check_unreadable(&shared.session().token().await.expect_err("it isn't readable"));
                check_unreadable(&shared.sign_in(token("A3")).await.expect_err("it isn't readable"));
                check_unreadable(&shared.sign_out().await.expect_err("it isn't readable"));
                assert_eq!(content(&store).await, input);
                assert_eq!(calls.load(Ordering::Relaxed), 0);
            }
        }
    });
}

/// A session whose endpoint returns a new token for each request.
fn open(clock: &TestClock, store: &MemoryStore, calls: &Arc<AtomicUsize>) -> SharedSession {
    let calls = Arc::clone(calls);
    let refresher = refresh_fn(move |_: RefreshContext| {
        calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok::<_, RefreshError>(token("A2")))
    });
    let save = |_| ready(Ok::<_, Infallible>(()));
    Session::builder(refresher).clock(clock.clone()).jitter(false).save_with(save).build_shared(store.clone())
}

fn token(access_token: &str) -> Token {
    let token = Token::builder(access_token).refresh_token(format!("{SECRET}-R2"));
    token.expires_in(Duration::from_secs(600)).build().expect("it is valid")
}

async fn content(store: &MemoryStore) -> Vec<u8> {
    let loaded = store.load().await.expect("a store in memory doesn't fail").expect("nothing deletes it");
    loaded.record().as_bytes().to_vec()
}

/// The text has nothing of the record but its size.
fn check_unreadable(error: &Error) {
    assert!(
        error.is_misconfigured() && StoreError::find(error).is_some_and(StoreError::is_unreadable),
        "{error:?}"
    );
    let reason = texts(error).pop().expect("it has a text");
    let reason: String = reason.chars().filter(|c| !c.is_ascii_digit()).collect();
    let reasons = [
        "the stored content isn't a record of tower-reauth (it is  bytes long)",
        "the stored content was written by a newer version of tower-reauth: update this program (it is  bytes long)",
        "the stored content has a member that is of the wrong type or out of range (it is  bytes long)",
    ];
    assert!(reasons.contains(&&*reason), "{reason}");
}

fn check_shown(error: &Error) {
    // The record says who holds a claim, and why a grant has ended.
    let is_from_record =
        StoreError::find(error).and_then(StoreError::holder).is_some() || error.is_grant_ended();
    for text in texts(error) {
        assert_one_line(&text);
        if !is_from_record {
            assert_no_secret(&text);
        }
    }
}

/// Another process reads what this one writes, and nothing that is unknown to it is lost.
async fn check_use(clock: &TestClock, store: &MemoryStore, calls: &Arc<AtomicUsize>, shared: &SharedSession) {
    let record: Map<String, Value> = serde_json::from_slice(&content(store).await).expect("it is a record");
    // A larger number loses precision in readers that use floating point.
    let numbers = ["epoch", "by", "claims"].into_iter().filter_map(|name| record.get(name)?.as_u64());
    assert!(numbers.max().is_none_or(|number| number < 1 << 53), "{record:?}");
    let before = members(record);
    let outcome = shared.session().token().await;
    assert!(calls.load(Ordering::Relaxed) <= 3, "{calls:?} calls");
    if let Err(error) = &outcome {
        check_shown(error);
    }
    let written = content(store).await;
    let other = open(clock, store, calls);
    other.load().await.expect("what is written can be read");
    let after = members(serde_json::from_slice(&written).expect("it is a record"));
    assert!(before.is_subset(&after), "{:?} is missing", before.difference(&after).collect::<Vec<_>>());

    match shared.sign_in(token("A3")).await {
        Ok(()) => {
            other.load().await.expect("what is written can be read");
            let used = other.session().token().await.expect("it is valid");
            assert_eq!(used.secret(), "A3");
        }
        Err(error) => check_shown(&error),
    }
}

/// The members of a record that this version doesn't know, with their values.
fn members(record: Map<String, Value>) -> BTreeSet<String> {
    const KNOWN: [&str; 13] = [
        "v",
        "w",
        "epoch",
        "was",
        "by",
        "claims",
        "client",
        "signed_out",
        "unknown",
        "token",
        "claim",
        "ended",
        "pause",
    ];
    let unknown =
        record.into_iter().filter(|(name, value)| !KNOWN.contains(&&**name) && !has_fraction(value));
    unknown.map(|(name, value)| format!("{name}: {value}")).collect()
}

/// Reading and writing a fraction changes its last digit. No version of the format has one.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}
