//! Records that can't be read, and records that say something extreme.

use std::{future::Future, time::Duration};

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_reauth::{
    Error, Token,
    rt::Clock,
    store::{SharedStore, StoreError},
};

use crate::{
    scripted::{NOW, ScriptedStore, claimed, lapse, open, record},
    support::{clock, run_pending_tasks, sources, spawn_token, token},
};

/// What no error may show.
const SECRET: &str = "SECRET";

fn valid() -> Value {
    record("SECRET-A1", "SECRET-R1", 600)
}

/// Puts a deeply nested value somewhere into a record.
fn nested(depth: usize, path: &str, is_array: bool) -> String {
    let (open, close) = if is_array { ("[", "]") } else { ("{\"a\":", "}") };
    let nested = format!("{}0{}", open.repeat(depth), close.repeat(depth));
    let mut document = claimed("SECRET-A1", "SECRET-R1", 600);
    document["ended"] = json!({"by": 0});
    document["token"]["extras"] = json!({});
    document.pointer_mut(path).unwrap()["nested"] = json!("HERE");
    document.to_string().replace("\"HERE\"", &nested)
}

/// Replaces the record of a session that has a valid token. Nothing is presented or written, the token stays in use,
/// and all that needs the record fails. Returns the text of the error.
async fn assert_unreadable(bytes: &[u8], credential: Option<&str>) -> String {
    let (clock, store) = (clock(), ScriptedStore::new(&valid()));
    let over = || {
        let over = SharedStore::new(store.clone());
        match credential {
            Some(credential) => over.credential(credential),
            None => over,
        }
    };
    let (held, held_endpoint) = open(&clock, over());
    let (fresh, fresh_endpoint) = open(&clock, over());
    held.load().await.unwrap();
    let swaps = store.swap_count();
    store.write(bytes);

    sleep(Duration::from_secs(500)).await;
    assert_eq!(held.session().token().await.unwrap().secret(), "SECRET-A1");
    run_pending_tasks().await;
    let status = held.session().status();
    assert!(status.is_stale() && !status.needs_sign_in());
    assert!(status.last_error().is_some_and(Error::is_misconfigured));

    sleep(Duration::from_secs(200)).await;
    let other = || token("SECRET-A2 SECRET-R2 600");
    let errors = [
        held.session().token().await.unwrap_err(),
        fresh.session().token().await.unwrap_err(),
        fresh.load().await.unwrap_err(),
        fresh.sign_in(other()).await.unwrap_err(),
        fresh.set_token(other()).await.unwrap_err(),
        fresh.sign_out().await.unwrap_err(),
    ];
    let texts = errors.map(|error| {
        assert!(error.is_misconfigured() && !error.is_retryable(), "{error:?}");
        assert!(StoreError::find(&error).is_some_and(StoreError::is_unreadable), "{error:?}");
        let text = sources(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(!text.contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
        assert!(text.contains("delete the record and sign in again"), "{text}");
        text
    });
    assert_eq!(store.bytes().as_deref(), Some(bytes));
    assert_eq!(store.swap_count(), swaps);
    assert_eq!((held_endpoint.call_count(), fresh_endpoint.call_count()), (0, 0));
    texts.into_iter().next().unwrap()
}

/// The same, for a record that isn't one: the error names its length.
async fn assert_no_record(bytes: &[u8]) -> String {
    let text = assert_unreadable(bytes, None).await;
    assert!(text.contains(&format!("it is {} bytes long", bytes.len())), "{text}");
    text
}

#[tokio::test(start_paused = true)]
async fn c21_empty_torn_and_foreign_records_are_unreadable() {
    let torn = &valid().to_string()[..100];
    let foreign = json!({"access_token": "SECRET", "refresh_token": "SECRET"}).to_string();
    for bytes in ["", " ", "null", "[]", "SECRET", torn, &foreign] {
        let text = assert_no_record(bytes.as_bytes()).await;
        assert!(text.contains("the stored content isn't a record of tower-reauth"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn c21_a_record_of_a_newer_format_is_unreadable() {
    let mut newer = valid();
    newer["v"] = json!(2);
    let text = assert_no_record(newer.to_string().as_bytes()).await;
    assert!(text.contains("update this program"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn c21_a_member_of_another_type_makes_a_record_unreadable() {
    for (member, value) in [("epoch", json!("7")), ("by", json!(-1)), ("token", json!([])), ("was", json!(7))]
    {
        let mut document = valid();
        document[member] = value;
        assert_no_record(document.to_string().as_bytes()).await;
    }
    let mut document = valid();
    document["token"]["extras"] = json!({"id_token": ["SECRET"]});
    assert_no_record(document.to_string().as_bytes()).await;
}

#[tokio::test(start_paused = true)]
async fn c21_very_deep_nesting_is_unreadable() {
    for is_array in [false, true] {
        assert_no_record(nested(300_000, "", is_array).as_bytes()).await;
    }
}

/// Anyone who can write the record chooses them.
#[tokio::test(start_paused = true)]
async fn c21_texts_of_a_record_are_shown_without_control_characters() {
    let forged = "x\u{1b}[31m\r\nINFO forged ".repeat(50);
    let mut ended = record("A1", "R1", 0);
    ended["ended"] = json!({"by": 1000, "code": forged});
    let mut busy = claimed("A1", "R1", 0);
    busy["claim"]["for"] = json!(10_000_000);
    busy["claim"]["who"] = json!(forged);
    for (document, begins) in [(ended, "another process found"), (busy, "another process (x[31mINFO forged")]
    {
        let clock = clock();
        let (shared, endpoint) = open(&clock, ScriptedStore::new(&document));
        let error = shared.session().token().await.unwrap_err();
        let text = sources(&error).last().unwrap().to_string();
        assert!(text.starts_with(begins), "{text}");
        assert!(!text.contains(char::is_control) && text.len() < 300, "{text:?}");
        assert_eq!(endpoint.call_count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_record_of_another_client_is_unreadable() {
    let mut others = valid();
    others["client"] = json!("SECRET issuer, other");
    let text = assert_unreadable(others.to_string().as_bytes(), Some("SECRET issuer, own")).await;
    assert!(text.contains("SharedStore::credential"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn p19_a_missing_client_is_written_with_the_next_write() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).credential("own"));
    shared.load().await.unwrap();
    assert_eq!(store.document()["client"], Value::Null);
    let respond = async { endpoint.next_call().await.succeed("A2 R2 600") };
    let (refreshed, ()) = tokio::join!(shared.session().refresh(), respond);
    assert_eq!(refreshed.unwrap().secret(), "A2");
    assert_eq!(store.document()["client"], json!("own"));

    let (same, _) = open(&clock, SharedStore::new(store.clone()).credential("own"));
    same.load().await.unwrap();
    assert_eq!(same.session().try_token().unwrap().secret(), "A2");

    // Without `credential` nothing is checked, and the client stays.
    let (other, _) = open(&clock, store.clone());
    other.sign_in(token("A3 R3 600")).await.unwrap();
    assert_eq!(store.document()["client"], json!("own"));
}

#[tokio::test(start_paused = true)]
async fn b147_a_token_comes_back_as_it_was_written() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, _) = open(&clock, store.clone());
    let written = Token::builder("A1")
        .scheme("DPoP")
        .refresh_token("R1")
        .expires_in(Duration::from_secs(600))
        .refresh_in(Duration::from_secs(60))
        .scopes(["read", "write"])
        .extra("instance_url", "https://eu.example.com")
        .build()
        .unwrap();
    shared.sign_in(written).await.unwrap();
    let before = store.document();
    let (other, mut endpoint) = open(&clock, store.clone());
    let read = other.session().token().await.unwrap();
    assert_eq!(read.header_value(), "DPoP A1");
    assert_eq!(other.session().extra("instance_url").as_deref(), Some("https://eu.example.com"));
    sleep(Duration::from_secs(61)).await;
    assert!(other.session().status().is_stale());
    assert_eq!(store.document(), before);

    // What the refresher gets is complete.
    let waiter = spawn_token(other.session());
    let call = endpoint.next_call().await;
    let token = call.cx.token().unwrap();
    assert_eq!((token.refresh_token(), token.scheme()), (Some("R1"), "DPoP"));
    assert_eq!(token.scopes(), Some(["read".to_owned(), "write".to_owned()].as_slice()));
    assert_eq!(token.expires_at(), Some(clock.now().wall() + Duration::from_secs(539)));
    call.succeed("A2 - 600");
    waiter.await.unwrap().unwrap();
    other.session().idle().await;
    assert_eq!(store.document()["token"]["refresh"], json!("R1"));
}

#[tokio::test(start_paused = true)]
async fn c21_unknown_members_survive_a_save_and_not_a_sign_in() {
    let mut document = record("A1", "R1", 600);
    document["later"] = json!({"a": [1, 2.5, null]});
    document["token"]["later"] = json!("kept");
    let (clock, store) = (clock(), ScriptedStore::new(&document));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let others = |document: &Value| (document["later"].clone(), document["token"]["later"].clone());
    let before = others(&document);
    shared.load().await.unwrap();
    let respond = async { endpoint.next_call().await.succeed("A2 R2 600") };
    let _ = tokio::join!(shared.session().refresh(), respond);
    let document = store.document();
    assert_eq!((&document["token"]["access"], others(&document)), (&json!("A2"), before.clone()));

    shared.set_token(token("A3 - 600")).await.unwrap();
    let document = store.document();
    assert_eq!((&document["token"]["access"], others(&document)), (&json!("A3"), before));

    shared.sign_in(token("A4 R4 600")).await.unwrap();
    assert_eq!(others(&store.document()), (Value::Null, Value::Null));
}

async fn lapse_of(claim: impl FnOnce(&mut Value), store_has_clock: bool) -> Duration {
    let (clock, mut store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    store.edit(|document| claim(&mut document["claim"]));
    if store_has_clock {
        store = store.with_clock(&clock);
    }
    let (shared, mut endpoint) = open(&clock, store);
    lapse(&shared, &mut endpoint).await
}

#[track_caller]
fn assert_about(lapse: Duration, seconds: u64) {
    let seconds = Duration::from_secs(seconds);
    assert!(lapse >= seconds && lapse < seconds + Duration::from_millis(100), "{lapse:?}");
}

#[tokio::test(start_paused = true)]
async fn c26_the_length_of_a_claim_is_clamped() {
    for (length, seconds) in [(i64::MIN, 5), (-1, 5), (0, 5), (999, 5), (2000, 6), (10_000, 14)] {
        assert_about(lapse_of(|claim| claim["for"] = json!(length), false).await, seconds);
    }
    for length in [15_001, 1_000_000_000, i64::MAX] {
        assert_about(lapse_of(|claim| claim["for"] = json!(length), false).await, 19);
    }
    assert_about(lapse_of(|claim| claim["for"] = Value::Null, false).await, 5);
}

#[tokio::test(start_paused = true)]
async fn c26_a_claim_from_the_future_lapses_by_sight() {
    for at in [NOW + 3_600_000, NOW + 100 * 365 * 86_400_000, i64::MAX] {
        for store_has_clock in [false, true] {
            assert_about(lapse_of(|claim| claim["at"] = json!(at), store_has_clock).await, 14);
        }
    }
}

/// Another host's clock was a year ahead.
#[tokio::test(start_paused = true)]
async fn c21_a_pause_lasts_for_an_hour_at_most() {
    let mut document = record("A1", "R1", 0);
    document["pause"] = json!(NOW + 365 * 86_400_000i64);
    let (clock, store) = (clock(), ScriptedStore::new(&document));
    let (shared, mut endpoint) = open(&clock, store);
    let start = Instant::now();
    loop {
        tokio::select! {
            biased;
            call = endpoint.next_call() => break call.succeed("A2 R2 600"),
            _ = shared.session().token() => sleep(Duration::from_secs(60)).await,
        }
        assert!(start.elapsed() < Duration::from_secs(2 * 3600));
    }
}

#[tokio::test(start_paused = true)]
async fn c21_the_largest_numbers_leave_the_record_readable() {
    for member in ["claims", "by"] {
        let mut document = record("A1", "R1", 0);
        (document["by"], document["claims"]) = (json!(0), json!((1u64 << 53) - 1));
        document[member] = json!((1u64 << 53) - 1);
        let (clock, store) = (clock(), ScriptedStore::new(&document));
        let (shared, mut endpoint) = open(&clock, store.clone());
        let respond = async { endpoint.next_call().await.succeed("A2 R2 600") };
        tokio::select! {
            _ = shared.session().token() => {}
            () = respond => {}
        }
        let (other, _) = open(&clock, store);
        other.load().await.unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test);
}

/// The members of a record, by path.
const MEMBERS: &[&str] = &[
    "/v",
    "/w",
    "/epoch",
    "/was",
    "/by",
    "/claims",
    "/client",
    "/signed_out",
    "/unknown",
    "/pause",
    "/ended",
    "/ended/by",
    "/ended/code",
    "/later",
    "/claim",
    "/claim/n",
    "/claim/id",
    "/claim/for",
    "/claim/at",
    "/claim/who",
    "/claim/host",
    "/token",
    "/token/access",
    "/token/scheme",
    "/token/refresh",
    "/token/received_at",
    "/token/expires_at",
    "/token/refresh_at",
    "/token/refresh_expires_at",
    "/token/scopes",
    "/token/extras",
    "/token/later",
];

fn extreme() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        (-5..5i64).prop_map(|number| json!(number)),
        (NOW - 100_000..NOW + 100_000).prop_map(|number| json!(number)),
        select(vec![
            json!(i64::MIN),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e308),
            json!(true),
            json!(""),
            json!("\u{0}\n"),
            json!([]),
            json!([u64::MAX, 7]),
            json!([-1]),
            json!({}),
            json!({"": ""}),
            Value::Null,
        ]),
        ".{0,20}".prop_map(|string| json!(string)),
    ]
}

/// Uses a record as a program would. Returns what happened.
async fn use_record(document: &Value, store_has_clock: bool) {
    let (clock, mut store) = (clock(), ScriptedStore::new(document));
    if store_has_clock {
        store = store.with_clock(&clock);
    }
    let bytes = store.bytes();
    let (shared, mut endpoint) = open(&clock, store.clone());
    let start = Instant::now();
    let mut waiter = spawn_token(shared.session());
    tokio::select! {
        biased;
        call = endpoint.next_call() => {
            let by_sight = start.elapsed() >= Duration::from_secs(5);
            let age = document["claim"]["at"].as_i64().map_or(i64::MAX, |at| NOW.saturating_sub(at));
            let by_clock = store_has_clock && age >= 2 * 5000;
            assert!(document["claim"].is_null() || by_sight || by_clock, "after {:?}", start.elapsed());
            call.succeed("A2 R2 600");
            assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
            assert_eq!(store.document()["token"]["access"], json!("A2"));
        }
        result = &mut waiter => match result.unwrap() {
            Ok(token) => assert_eq!(Some(token.secret()), document["token"]["access"].as_str()),
            Err(error) => {
                let is_unreadable = StoreError::find(&error).is_some_and(StoreError::is_unreadable);
                assert_eq!(error.is_misconfigured(), is_unreadable, "{error:?}");
                assert_eq!(store.bytes(), bytes, "{error:?}");
                return;
            }
        },
    }
    // What was readable stays readable.
    let (other, _) = open(&clock, store.clone());
    other.load().await.unwrap();
    other.sign_in(token("A3 R3 600")).await.unwrap();
    shared.load().await.unwrap();
    assert_eq!(shared.session().try_token().unwrap().secret(), "A3");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn c21_random_bytes_are_unreadable(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        run(async { drop(assert_no_record(&bytes).await) });
    }

    #[test]
    fn c21_a_part_of_a_record_is_unreadable(cut in 0..valid().to_string().len()) {
        run(async { drop(assert_no_record(&valid().to_string().as_bytes()[..cut]).await) });
    }

    #[test]
    fn c21_deep_nesting_is_unreadable(
        depth in 130..2_000usize,
        path in select(vec!["", "/token", "/token/extras", "/claim", "/ended"]),
        is_array: bool,
    ) {
        let bytes = nested(depth, path, is_array);
        run(async { drop(assert_no_record(bytes.as_bytes()).await) });
    }

    #[test]
    fn c26_an_extreme_member_is_harmless(
        member in select(MEMBERS),
        value in extreme(),
        has_expired: bool,
        store_has_clock: bool,
    ) {
        let mut document = claimed("A1", "R1", if has_expired { 0 } else { 600 });
        let (parent, name) = member.rsplit_once('/').unwrap();
        let parent = match document.pointer_mut(parent) {
            Some(parent) => parent,
            None => {
                document["ended"] = json!({"by": 1000, "code": "invalid_grant"});
                &mut document["ended"]
            }
        };
        parent[name] = value;
        run(use_record(&document, store_has_clock));
    }
}
