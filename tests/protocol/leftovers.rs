//! What a failed or interrupted step leaves behind: claims, seeds, locks.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{runtime, time::Instant};
use tower_reauth::{RefreshContext, RefreshError, Session, Token, refresh_fn, store::StoreError};

use crate::scripted::{Scripted, after_rejection, record, shared, token};

/// A token that another process sets. Its access token has expired.
fn set_by_another(document: &mut Value) {
    (document["by"], document["claims"]) = (json!(2000), json!(2000));
    document["token"] = json!({"access": "A9", "refresh": "R9", "received_at": 0, "expires_at": 1});
}

/// Leaves a claim in the record of which the session only knows that it may be there.
async fn leave_claim(store: &Scripted, session: &Session) {
    store.at_next_swap(|store, record| {
        store.set_down(true);
        store.lose_response(record)
    });
    let held = session.token().await.unwrap();
    let error = session.token_after_rejection(&held).await.unwrap_err();
    assert!(StoreError::find(&error).is_some_and(StoreError::is_unknown), "{error:?}");
    assert!(store.document()["claim"].is_object());
    store.set_down(false);
    session.reset_backoff();
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_goes_with_a_refusal_that_does_not_count() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, cx| match cx.refresh_token() {
        Some("R1") => {
            store.edit(set_by_another);
            Err(RefreshError::grant_ended("invalid_grant"))
        }
        _ => token("A3", "R3"),
    });
    let start = Instant::now();
    assert_eq!(after_rejection(&shared).await, "A3");
    assert_eq!(*presented.lock().unwrap(), ["R1", "R9"]);
    // It waited for no claim of its own.
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_from_before_a_token_was_set_is_not_used_for_that_token() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, _| {
        // Otherwise others would take the token for one that wasn't presented.
        let document = store.document();
        assert!(document["claim"]["n"].as_u64() > document["by"].as_u64(), "{document}");
        token("A3", "R3")
    });
    leave_claim(&store, shared.session()).await;
    store.edit(set_by_another);
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A3");
    assert_eq!(*presented.lock().unwrap(), ["R9"]);
    assert_eq!(store.document()["claim"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_an_unused_claim_is_removed_later_if_that_fails_at_first() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("none", "none"));
    leave_claim(&store, shared.session()).await;
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"] = json!({"access": "A9", "refresh": "R9", "received_at": 0});
    });
    store.at_next_swap(|store, _| {
        store.set_down(true);
        Err(StoreError::unavailable("down"))
    });
    shared.session().refresh().await.unwrap_err();
    store.set_down(false);
    shared.session().reset_backoff();
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A9");
    assert!(presented.lock().unwrap().is_empty());
    assert_eq!(store.document()["claim"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_a_seed_outlasts_a_record_without_a_token() {
    let store = Scripted::default();
    let refresher = refresh_fn(async |cx: RefreshContext| match cx.refresh_token() {
        Some("R1") => token("A2", "R2"),
        _ => Err(RefreshError::grant_ended("there is no refresh token")),
    });
    let shared = Session::builder(refresher).refresh_token("R1").build_shared(store.clone());
    // A process without a token of its own makes the record first, then asks the endpoint in vain.
    store.at_next_swap(|store, _| {
        store.write(&json!({"v": 1, "w": "w", "epoch": 9, "was": [], "by": 0, "claims": 1000}));
        Ok(())
    });
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn b148_a_record_that_is_deleted_during_the_first_exchange_signs_nobody_out() {
    let store = Scripted::default();
    let is_first = AtomicBool::new(true);
    let (shared, _) = shared(&store, move |store, _| {
        if !is_first.swap(false, Ordering::SeqCst) {
            return Ok(Token::try_new("A2")?);
        }
        store.delete();
        Err(RefreshError::transient("503"))
    });
    let error = shared.session().token().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    shared.session().reset_backoff();
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p19_p10_no_waiter_gets_the_token_of_a_user_who_was_replaced_meanwhile() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            (document["epoch"], document["was"]) = (json!(8), json!([7]));
            (document["by"], document["claims"]) = (json!(2000), json!(2000));
            document["token"] = json!({"access": "U2", "refresh": "UR2", "received_at": 0});
            document["claim"] = Value::Null;
        });
        // The save meets the other sign-in. Then the store is down.
        store.set_down_after_loads(1);
        token("A2", "R2")
    });
    let held = shared.session().token().await.unwrap();
    let error = shared.session().token_after_rejection(&held).await.unwrap_err();
    assert!(error.is_signed_out(), "{error:?}");
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
}

#[tokio::test(start_paused = true)]
async fn p19_a_runtime_that_stands_still_in_a_save_stops_no_other() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("none", "none"));
    shared.session().token().await.unwrap();
    store.set_hanging(true);
    // Its runtime isn't driven any more, and isn't dropped either.
    let (session, (resume, resumed)) = (shared.session().clone(), mpsc::channel::<()>());
    let (started, is_started) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            session.sign_in(token("U2", "UR2").unwrap());
            tokio::task::yield_now().await;
        });
        started.send(()).unwrap();
        resumed.recv().unwrap();
    });
    is_started.await.unwrap();
    store.set_hanging(false);
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U2"));
    shared.set_token(token("U3", "UR3").unwrap()).await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U3"));
    resume.send(()).unwrap();
    thread.join().unwrap();
}
