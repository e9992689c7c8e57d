//! Claims: who waits for whose, and for how long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_reauth::{
    RefreshError,
    refresh::RefreshReason,
    rt::{Clock, TestClock},
    store::{Loaded, Record, SharedSession, SharedStore, StoreError, Swap, TokenStore, Version},
};

use crate::{
    scripted::{
        NOW, SECOND, ScriptedStore, assert_about, builder, busy_holder, claimed, lapse, open, record,
        seconds, secret,
    },
    support::{clock, run_pending_tasks, spawn_token},
};

const HOUR: Duration = Duration::from_secs(3600);

// Waiting.

#[tokio::test(start_paused = true)]
async fn c29_waiting_for_others_ends_in_busy_and_never_in_an_exchange() {
    let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    let (shared, endpoint) = open(&clock, store.clone());
    // One after the other claims, and none gets a token.
    let others = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 3..1000 {
                sleep(seconds(5)).await;
                store.edit(|document| {
                    document["claims"] = json!(1000 * number);
                    document["claim"]["n"] = json!(1000 * number);
                });
            }
        }
    });
    for _ in 0..3 {
        let start = Instant::now();
        let error = shared.session().refresh().await.unwrap_err();
        assert_eq!(busy_holder(&error), Some("other, pid 7"));
        assert!(error.to_string().len() > 1 && start.elapsed() >= seconds(15), "{:?}", start.elapsed());
        shared.session().reset_backoff();
    }
    assert_eq!((endpoint.call_count(), store.swap_count()), (0, 0));
    others.abort();
}

#[tokio::test(start_paused = true)]
async fn p19_a_stale_token_makes_nobody_wait() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    sleep(seconds(500)).await;
    store.write(claimed("A1", "R1", 600).to_string());
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(shared.session().token().await.unwrap().secret(), "A1");
        run_pending_tasks().await;
    }
    assert!(shared.session().status().is_refreshing());
    assert_eq!((start.elapsed(), endpoint.call_count()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn p19_who_waits_takes_what_the_holder_got() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (holder, mut endpoint) = open(&clock, store.clone());
    let others: Vec<_> = (0..5).map(|_| open(&clock, store.clone())).collect();
    let first = spawn_token(holder.session());
    let call = endpoint.next_call().await;
    let waiters: Vec<_> = others.iter().map(|(shared, _)| spawn_token(shared.session())).collect();
    sleep(seconds(9)).await;
    call.succeed("A2 R2 600");
    assert_eq!(secret(first).await, "A2");
    for waiter in waiters {
        assert_eq!(secret(waiter).await, "A2");
    }
    assert!(others.iter().all(|(_, endpoint)| endpoint.call_count() == 0));
}

/// At first often, then every half second, and never at the pace of other waiters.
#[tokio::test(start_paused = true)]
async fn p19_who_waits_reads_the_record_less_and_less_often() {
    let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    let (shared, _endpoint) = open(&clock, store.clone());
    let _waiter = spawn_token(shared.session());
    sleep(seconds(9)).await;
    let loads = store.loads();
    let mut expected = 0.005;
    let mut varies = false;
    for pair in loads.windows(2) {
        let ratio = (pair[1] - pair[0]).as_secs_f64() / expected;
        // A timer is up to a millisecond late.
        let late = 0.001 / expected;
        assert!(ratio > 0.69 && ratio < 1.31 + late, "{ratio} of {expected}");
        varies |= (ratio - 1.0).abs() > late + 0.02;
        expected = f64::min(expected * 1.6, 0.5);
    }
    assert!(varies && loads.len() > 20, "{loads:?}");
}

/// One reads before it claims; nobody has written since.
#[tokio::test(start_paused = true)]
async fn p19_a_refresh_without_others_reads_once_and_writes_twice() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
    shared.session().idle().await;
    assert_eq!((store.loads().len(), store.swap_count()), (1, 2));
}

/// Its loads take a while, and each write conflicts with another process's.
struct Contended {
    record: Record,
    swaps: Arc<AtomicUsize>,
}

impl TokenStore for Contended {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        sleep(Duration::from_millis(2500)).await;
        Ok(Some(Loaded::new(self.record.clone(), Version::of(&self.record))))
    }

    async fn swap(&self, _: Option<&Version>, _: &Record) -> Result<Swap, StoreError> {
        self.swaps.fetch_add(1, Ordering::SeqCst);
        Ok(Swap::Conflict)
    }
}

/// Of the refresh timeout of 26 s, 7 s are for the exchange and for writing what it returns.
#[tokio::test(start_paused = true)]
async fn p19_a_claim_is_not_written_if_too_little_time_is_left_for_an_exchange() {
    let swaps = Arc::<AtomicUsize>::default();
    let record = Record::from_bytes(record("A1", "R1", 0).to_string().into_bytes());
    let store = SharedStore::new(Contended { record, swaps: Arc::clone(&swaps) });
    let (builder, endpoint) = builder(&clock());
    let builder = builder.refresh_timeout(seconds(1)).wait_timeout(HOUR);
    let shared = builder.build_shared(store.exchange_timeout(seconds(4)));
    let start = Instant::now();
    let error = shared.session().token().await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout(), "{error:?}");
    assert_about(start.elapsed(), seconds(20));
    assert_eq!((swaps.load(Ordering::SeqCst), endpoint.call_count()), (7, 0));
}

// When a claim lapses.

/// If this process dies, too, the next one has to declare a repeat.
#[tokio::test(start_paused = true)]
async fn p19_the_claim_after_one_that_lapsed_says_that_the_outcome_is_unknown() {
    let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    let document = store.document();
    assert_eq!((&document["claim"]["n"], &document["unknown"]), (&json!(3000), &json!(true)));
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_lapses_by_sight() {
    // By this host's clock it is very old.
    for at in [NOW - 3_600_000, NOW, NOW + 3_600_000] {
        let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
        store.edit(|document| document["claim"]["at"] = json!(at));
        let (shared, mut endpoint) = open(&clock, store);
        assert_about(lapse(&shared, &mut endpoint).await, seconds(14));
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_step_of_the_clock_lapses_no_claim() {
    for is_forward in [true, false] {
        let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
        let (shared, mut endpoint) = open(&clock, store);
        let step = tokio::spawn(async move {
            sleep(seconds(5)).await;
            match is_forward {
                true => clock.step(HOUR),
                false => clock.step_back(HOUR),
            }
        });
        assert_about(lapse(&shared, &mut endpoint).await, seconds(14));
        step.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_that_is_longer_than_a_wait_lapses_in_a_later_wait() {
    let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    store.edit(|document| document["claim"]["for"] = json!(15_000));
    let (shared, mut endpoint) = open(&clock, store);
    let start = Instant::now();
    let error = shared.session().refresh().await.unwrap_err();
    assert_eq!(busy_holder(&error), Some("other, pid 7"));
    assert_about(start.elapsed(), seconds(15));
    sleep(seconds(3)).await;
    lapse(&shared, &mut endpoint).await;
    assert_about(start.elapsed(), seconds(19));
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_counts_anew_after_the_store_could_not_be_read() {
    for clock_of_store in [false, true] {
        let (clock, mut store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
        if clock_of_store {
            // By the store's clock it would lapse after 6 s.
            store.edit(|document| document["claim"]["at"] = json!(NOW - 22_000));
            store = store.with_clock(&clock);
        }
        let (shared, mut endpoint) = open(&clock, store.clone());
        let outage = tokio::spawn(async move {
            sleep(seconds(5)).await;
            store.set_down(true);
            sleep(SECOND).await;
            store.set_down(false);
        });
        let after = lapse(&shared, &mut endpoint).await;
        assert!(after >= seconds(6 + 14) && after < seconds(6 + 15), "{after:?}");
        outage.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_lapses_by_the_stores_clock() {
    for (age, expected) in [(40, 0), (28, 0), (27, 1), (20, 8), (14, 14), (0, 14)] {
        // This host's clock is wrong.
        let (clock, clock_of_store) = (clock(), clock());
        clock.step_back(HOUR);
        let store = ScriptedStore::new(&claimed("A1", "R1", 0)).with_clock(&clock_of_store);
        store.edit(|document| document["claim"]["at"] = json!(NOW - 1000 * age));
        let (shared, mut endpoint) = open(&clock, store);
        assert_about(lapse(&shared, &mut endpoint).await, seconds(expected));
    }
}

/// The store's clock is set while one presents and two wait. Returns the calls of the others.
async fn calls_after_step(step: impl FnOnce(&TestClock)) -> usize {
    let (clock, clock_of_store) = (clock(), clock());
    let store = ScriptedStore::new(&record("A1", "R1", 0)).with_clock(&clock_of_store);
    let (holder, mut endpoint) = open(&clock, store.clone());
    let first = spawn_token(holder.session());
    let call = endpoint.next_call().await;
    let mut others: Vec<_> = (0..2).map(|_| open(&clock, store.clone())).collect();
    let waiters: Vec<_> = others.iter().map(|(shared, _)| spawn_token(shared.session())).collect();
    sleep(seconds(4)).await;
    step(&clock_of_store);
    sleep(seconds(4)).await;
    let mut count = 0;
    for (_, endpoint) in &mut others {
        if endpoint.call_count() > 0 {
            let call = endpoint.next_call().await;
            assert_eq!(call.cx.reason(), RefreshReason::Repeated);
            call.succeed("A2 R2 600");
            count += endpoint.call_count();
        }
    }
    run_pending_tasks().await;
    call.succeed("A2 R2 600");
    assert_eq!(secret(first).await, "A2");
    for waiter in waiters {
        assert_eq!(secret(waiter).await, "A2");
    }
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
    count
}

#[tokio::test(start_paused = true)]
async fn p19_a_small_step_of_the_stores_clock_lapses_no_claim() {
    assert_eq!(calls_after_step(|clock| clock.step(seconds(10))).await, 0);
    assert_eq!(calls_after_step(|clock| clock.step_back(seconds(10))).await, 0);
    assert_eq!(calls_after_step(|clock| clock.step_back(HOUR)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_large_step_of_the_stores_clock_leads_to_one_declared_repeat() {
    assert_eq!(calls_after_step(|clock| clock.step(HOUR)).await, 1);
}

/// The holder's clock is 20 min ahead of the other's, or behind. Returns both sessions with their clocks.
async fn apart(is_ahead: bool, clock_of_store: Option<&TestClock>) -> [(SharedSession, TestClock); 2] {
    let (ahead, behind) = (clock(), clock());
    ahead.step(seconds(600));
    behind.step_back(seconds(600));
    let (holder, other) = if is_ahead { (ahead, behind) } else { (behind, ahead) };
    let mut store = ScriptedStore::new(&record("A1", "R1", -3600));
    if let Some(clock) = clock_of_store {
        store = store.with_clock(clock);
    }
    let (first, mut endpoint) = open(&holder, store.clone());
    let (second, other_endpoint) = open(&other, store);
    let task = spawn_token(first.session());
    let call = endpoint.next_call().await;
    let waiter = spawn_token(second.session());
    sleep(Duration::from_millis(9900)).await;
    call.succeed("A2 R2 3600");
    assert_eq!((secret(task).await, secret(waiter).await), ("A2".to_owned(), "A2".to_owned()));
    assert_eq!((endpoint.call_count(), other_endpoint.call_count()), (1, 0));
    [(first, holder), (second, other)]
}

#[tokio::test(start_paused = true)]
async fn p19_clocks_that_differ_lapse_no_claim() {
    for is_ahead in [true, false] {
        apart(is_ahead, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p19_with_the_stores_clock_those_of_the_hosts_do_not_matter() {
    for is_ahead in [true, false] {
        for (shared, clock) in apart(is_ahead, Some(&clock())).await {
            let expiry = shared.session().status().expires_at().unwrap();
            let left = expiry.duration_since(clock.now().wall()).unwrap();
            // It counts from the call, and the token is used until 30 s before. The other polls.
            let expected = Duration::from_millis(3_600_000 - 9900 - 30_000);
            assert!(left <= expected && left > expected - SECOND, "{left:?}");
            assert!(shared.session().status().is_fresh());
        }
    }
}

// What the holder of a claim may do.

#[tokio::test(start_paused = true)]
async fn p19_the_holder_presents_in_the_first_half_of_its_claim_only() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).exchange_timeout(seconds(4)));
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(store.document()["claim"]["for"], json!(4000));
    assert!(call.cx.time_left().is_some_and(|left| left <= seconds(4)));
    sleep(Duration::from_millis(1900)).await;
    assert!(call.cx.is_wanted());
    sleep(Duration::from_millis(200)).await;
    assert!(!call.cx.is_wanted() && !call.is_dropped());
    sleep(seconds(2)).await;
    assert!(call.is_dropped());

    // It was sent without a response, and is repeated under a claim of its own.
    let call = endpoint.next_call().await;
    assert_eq!((call.cx.reason(), call.cx.refresh_token()), (RefreshReason::Repeated, Some("R1")));
    let document = store.document();
    assert_eq!((&document["claim"]["n"], &document["unknown"]), (&json!(3000), &json!(true)));
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
    assert_eq!(store.document()["unknown"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_the_holder_counts_by_the_larger_of_both_clocks() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store);
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert!(call.cx.is_wanted());
    // The machine was suspended.
    clock.step(seconds(6));
    assert!(!call.cx.is_wanted());
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
}

// What the record says of a refresh that failed.

#[tokio::test(start_paused = true)]
async fn p19_a_retry_after_is_kept_by_all() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (first, mut first_endpoint) = open(&clock, store.clone());
    let (second, mut second_endpoint) = open(&clock, store.clone());
    let (third, mut third_endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(first.session());
    let later = RefreshError::transient("429").with_retry_after(seconds(30));
    first_endpoint.next_call().await.fail(later);
    waiter.await.unwrap().unwrap_err();
    let document = store.document();
    assert_eq!((&document["pause"], &document["claim"]), (&json!(NOW + 30_000), &Value::Null));

    let until = SystemTime::UNIX_EPOCH + seconds(1_000_000 + 30);
    let error = second.session().token().await.unwrap_err();
    assert!(error.is_transient() && error.retry_at() == Some(until), "{error:?}");
    third.session().token().await.unwrap_err();
    sleep(seconds(29)).await;
    second.session().token().await.unwrap_err();
    assert_eq!((second_endpoint.call_count(), third_endpoint.call_count()), (0, 0));

    // `reset_backoff` ignores it.
    third.session().reset_backoff();
    let waiter = spawn_token(third.session());
    third_endpoint.next_call().await.fail(RefreshError::transient("503"));
    waiter.await.unwrap().unwrap_err();
    assert_eq!(store.document()["pause"], json!(NOW + 30_000));

    sleep(seconds(2)).await;
    let waiter = spawn_token(second.session());
    second_endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
    assert_eq!(store.document()["pause"], Value::Null);
    assert_eq!(first_endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_a_retry_after_is_an_hour_at_most() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    let later = RefreshError::transient("429").with_retry_after(24 * HOUR);
    endpoint.next_call().await.fail(later);
    waiter.await.unwrap().unwrap_err();
    assert_eq!(store.document()["pause"], json!(NOW + 3_600_000));
}

/// A session that never repeats, over this record, has ended without a call or a write.
async fn assert_never_repeats(document: &Value, after: Duration) {
    let (clock, store) = (clock(), ScriptedStore::new(document));
    let before = store.bytes();
    let (shared, endpoint) = open(&clock, SharedStore::new(store.clone()).never_repeat());
    let start = Instant::now();
    let error = shared.session().token().await.unwrap_err();
    assert!(error.is_grant_ended(), "{error:?}");
    assert_about(start.elapsed(), after);
    assert!(shared.session().status().needs_sign_in());
    for _ in 0..10 {
        sleep(seconds(60)).await;
        assert!(shared.session().token().await.unwrap_err().is_grant_ended());
    }
    assert_eq!((store.bytes(), store.swap_count(), endpoint.call_count()), (before, 0, 0));

    // The holder's successor turns up after all.
    store.edit(|document| {
        document["by"] = json!(2000);
        document["claim"] = Value::Null;
        document["unknown"] = json!(false);
        document["token"] = json!({"access": "A2", "refresh": "R2", "expires_at": NOW + 36_000_000});
    });
    sleep(seconds(130)).await;
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    assert!(!shared.session().status().needs_sign_in());
}

#[tokio::test(start_paused = true)]
async fn p19_never_repeat_ends_in_this_process_if_the_outcome_is_unknown() {
    let mut document = record("A1", "R1", 0);
    document["unknown"] = json!(true);
    assert_never_repeats(&document, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn p19_never_repeat_ends_in_this_process_when_a_claim_lapses() {
    assert_never_repeats(&claimed("A1", "R1", 0), seconds(14)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_without_a_response_never_repeat_does_not_repeat() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).never_repeat());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::outcome_unknown("no response"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    let document = store.document();
    assert_eq!(
        (&document["unknown"], &document["claim"], &document["ended"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    assert_eq!(endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_of_an_earlier_token_is_not_an_unknown_outcome() {
    // A token with another refresh token was set since the claim.
    let mut document = claimed("A1", "R1", 0);
    document["by"] = json!(3000);
    document["claims"] = json!(3000);
    let (clock, store) = (clock(), ScriptedStore::new(&document));
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).never_repeat());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.reason(), RefreshReason::Initial);
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
}
