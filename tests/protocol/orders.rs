//! Orders of events that random runs seldom meet. The test plays the other processes: it edits the record.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tower_reauth::{
    RefreshError, Session, Token,
    refresh::RefreshReason,
    refresh_fn,
    store::{SharedStore, StoreError},
};

use crate::scripted::{Scripted, after_rejection, record, shared, shared_over, token};

#[tokio::test(start_paused = true)]
async fn p19_a_claim_that_a_look_up_has_found_is_not_used_if_a_newer_token_came() {
    let store = Scripted::new(&record("A1", "R1", 0, 1000));
    let (shared, presented) = shared(&store, |_, _| token("A2", "R2"));
    // The claim is written. The process that had the claim before saves at last, and the response is lost.
    store.at_next_swap(|store, record| {
        let lost = store.lose_response(record);
        store.edit(|document| {
            document["by"] = json!(1000);
            document["token"] = json!({"access": "A9", "refresh": "R9"});
        });
        lost
    });
    assert_eq!(after_rejection(&shared).await, "A9");
    assert!(presented.lock().unwrap().is_empty());
    let document = store.document();
    assert_eq!((&document["token"]["refresh"], &document["claim"]), (&json!("R9"), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn p19_a_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            document["by"] = json!(500);
            document["token"] = json!({"access": "A9", "refresh": "R9"});
        });
        Err(RefreshError::grant_ended("invalid_grant"))
    });
    assert_eq!(after_rejection(&shared).await, "A9");
    assert_eq!(store.document()["ended"], Value::Null);
    assert!(!shared.session().status().needs_sign_in());
}

#[tokio::test(start_paused = true)]
async fn p19_a_late_save_leaves_the_claim_of_another_process() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            document["claims"] = json!(2000);
            document["claim"] = json!({"n": 2000, "id": "other", "for": 10_000, "at": 0, "who": "other"});
        });
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    let document = store.document();
    assert_eq!((&document["token"]["refresh"], &document["claim"]["n"]), (&json!("R2"), &json!(2000)));
}

/// It took over a claim that had lapsed, and presented the token that was spent.
#[tokio::test(start_paused = true)]
async fn p19_a_late_response_counts_more_than_the_refusal_of_another_process() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            document["ended"] = json!({"by": document["by"], "code": "invalid_grant"});
            document["claim"] = Value::Null;
        });
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    let document = store.document();
    assert_eq!((&document["token"]["refresh"], &document["ended"]), (&json!("R2"), &Value::Null));
    assert!(!shared.session().status().needs_sign_in());
}

#[tokio::test(start_paused = true)]
async fn p19_a_successor_that_the_record_has_already_is_not_saved_again() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    // Another process got the same successor, and presented it since without a response.
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            (document["by"], document["claims"]) = (json!(500), json!(5000));
            document["token"] = json!({"access": "A9", "refresh": "R2"});
            document["unknown"] = json!(true);
        });
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A9");
    let document = store.document();
    assert_eq!((&document["by"], &document["unknown"]), (&json!(500), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn p19_a_token_set_after_a_late_save_does_not_shut_out_a_response() {
    let store = Scripted::new(&record("A1", "R1", 0, 1000));
    let (shared, _) = shared(&store, |store, _| {
        // The process with claim 1000 saves late, and an access token is set.
        store.edit(|document| {
            document["by"] = json!(1001);
            document["token"] = json!({"access": "A8", "refresh": "R9"});
        });
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_sign_in_after_a_lost_one_has_another_epoch() {
    let before = record("A1", "R1", 0, 0);
    let store = Scripted::new(&before);
    let sign_in = async |access, refresh| {
        let (shared, _) = shared(&store, |_, _| token("none", "none"));
        shared.sign_in(token(access, refresh).unwrap()).await.unwrap();
        store.document()["epoch"].as_u64().unwrap()
    };
    let first = sign_in("A2", "R2").await;
    // The store loses it.
    store.write(&before);
    let second = sign_in("A3", "R3").await;
    assert_ne!(first, second);
}

#[tokio::test(start_paused = true)]
async fn p19_what_is_unsaved_is_written_before_anything_is_presented() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, cx| match cx.refresh_token() {
        Some("R1") => {
            store.set_down(true);
            token("A2", "R2")
        }
        _ => token("A3", "R3"),
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    assert!(shared.session().status().is_unsaved());
    // By now the claim has lapsed, and the task of the refresh has given up. Another process would present R1.
    tokio::time::sleep(Duration::from_secs(100)).await;
    store.set_down(false);
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A3");
    assert_eq!(*presented.lock().unwrap(), ["R1", "R2"]);
    assert!(!shared.session().status().is_unsaved());
}

#[tokio::test(start_paused = true)]
async fn p19_what_is_unsaved_is_saved_without_a_call_when_the_store_is_back() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.set_down(true);
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    let mut watch = shared.session().watch();
    assert!(watch.status().is_unsaved());
    store.set_down(false);
    while watch.status().is_unsaved() {
        watch.changed().await.unwrap();
    }
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
    assert_eq!(store.document()["claim"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_under_which_nothing_was_presented_is_used() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let over = SharedStore::new(store.clone()).never_repeat();
    let (shared, presented) = shared_over(&store, over, |_, _| token("A2", "R2"));
    // The claim is written, but the response is lost, and then the store is down.
    store.at_next_swap(|store, record| {
        store.set_down(true);
        store.lose_response(record)
    });
    let token = shared.session().token().await.unwrap();
    let error = shared.session().token_after_rejection(&token).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(StoreError::find(&error).is_some_and(StoreError::is_unknown));
    store.set_down(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A2");
    assert_eq!(*presented.lock().unwrap(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p19_an_access_token_that_is_set_fences_off_no_refresh_token() {
    let store = Scripted::new(&record("A1", "R1", 0, 1000));
    let (other, _) = shared(&store, |_, _| token("none", "none"));
    other.session().token().await.unwrap();
    let calls = Arc::new(Mutex::new(Some((other, store.clone()))));
    let refresher = refresh_fn(move |_| {
        let call = calls.lock().unwrap().take();
        async move {
            if let Some((other, store)) = call {
                // The process with claim 1000 saves late; then an access token is set.
                store.edit(|document| {
                    document["by"] = json!(1000);
                    document["token"] = json!({"access": "A8", "refresh": "R9", "received_at": 0});
                });
                other.load().await.map_err(RefreshError::transient)?;
                let set = Token::try_new("A7")?;
                other.set_token(set).await.map_err(RefreshError::transient)?;
            }
            token("A2", "R2")
        }
    });
    let shared = Session::builder(refresher).jitter(false).build_shared(store.clone());
    assert_eq!(after_rejection(&shared).await, "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_whose_response_is_lost_is_looked_up_and_used() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, cx| {
        assert_eq!(cx.reason(), RefreshReason::Rejected);
        token("A2", "R2")
    });
    store.at_next_swap(|store, record| store.lose_response(record));
    assert_eq!(after_rejection(&shared).await, "A2");
    assert_eq!(*presented.lock().unwrap(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p19_a_store_that_cannot_be_read_signs_nobody_out() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("A2", "R2"));
    let held = shared.session().token().await.unwrap();
    store.set_down(true);
    let error = shared.session().token_after_rejection(&held).await.unwrap_err();
    assert!(error.is_retryable() && StoreError::find(&error).is_some_and(StoreError::is_unavailable));
    assert!(!shared.session().status().needs_sign_in());
    assert!(presented.lock().unwrap().is_empty());
    store.set_down(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p19_a_record_that_went_back_to_an_earlier_sign_in_is_not_followed() {
    let mut later = record("A1", "R1", 4000, 4000);
    later["was"] = json!([5]);
    let store = Scripted::new(&later);
    // This process was started after the sign-in that replaced epoch 5.
    let (shared, presented) = shared(&store, |_, _| token("A2", "R2"));
    shared.session().token().await.unwrap();
    let mut earlier = record("A0", "R0", 3000, 3000);
    earlier["epoch"] = json!(5);
    store.write(&earlier);
    assert_eq!(after_rejection(&shared).await, "A2");
    assert_eq!(*presented.lock().unwrap(), ["R1"]);
    assert_eq!(store.document()["epoch"], json!(7));
}

#[tokio::test(start_paused = true)]
async fn p19_p10_a_sign_in_is_not_undone_by_a_token_of_the_user_before() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.set_down(true);
        token("A2", "R2")
    });
    assert_eq!(after_rejection(&shared).await, "A2");
    // Another process has taken over, and saved; then another user signs in here.
    store.edit(|document| {
        (document["by"], document["claims"]) = (json!(9000), json!(9000));
        document["token"] = json!({"access": "A9", "refresh": "R9", "received_at": 0});
        document["claim"] = Value::Null;
    });
    shared.session().sign_in(token("U2", "UR2").unwrap());
    store.set_down(false);
    shared.load().await.unwrap();
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
    assert_eq!(store.document()["token"]["access"], json!("U2"));
}

#[tokio::test(start_paused = true)]
async fn p19_p10_a_sign_out_is_not_undone_by_a_sign_in_that_was_written_unnoticed() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("none", "none"));
    shared.session().token().await.unwrap();
    // The sign-in is written, but neither the response nor the look-up arrives.
    store.at_next_swap(|store, record| {
        store.set_down(true);
        store.lose_response(record)
    });
    shared.session().sign_in(token("U2", "UR2").unwrap());
    let mut watch = shared.session().watch();
    while !store.is_down() {
        watch.changed().await.unwrap();
    }
    drop(shared.session().sign_out());
    store.set_down(false);
    shared.load().await.unwrap();
    assert!(shared.session().status().is_signed_out());
    assert_eq!(store.document()["signed_out"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn p19_p02_a_set_refresh_token_that_was_used_since_is_not_written_again() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("A9", "R9"));
    shared.session().token().await.unwrap();
    // The token is written, but neither the response nor the look-up arrives. Then another process uses it.
    store.at_next_swap(|store, record| {
        store.set_down(true);
        store.lose_response(record)
    });
    shared.session().set_token(token("A5", "R5").unwrap()).unwrap();
    let mut watch = shared.session().watch();
    while !store.is_down() {
        watch.changed().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    store.edit(|document| {
        (document["by"], document["claims"]) = (json!(9000), json!(9000));
        document["token"] = json!({"access": "A6", "refresh": "R6", "received_at": 0});
    });
    store.set_down(false);
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["refresh"], json!("R6"));
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A6");
    assert!(presented.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p19_p05_a_token_of_another_process_ends_no_count_of_failures() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("A2", "R2"));
    let session = shared.session();
    let reject = |expected: &str| {
        let held = session.try_token().unwrap();
        assert_eq!(held.secret(), expected);
        session.mark_rejected(&held);
        session.status().consecutive_failures()
    };
    assert_eq!(after_rejection(&shared).await, "A2");
    assert_eq!(reject("A2"), 1);
    // Another process has just obtained the next one, and the server rejects that as well.
    store.edit(|document| {
        document["by"] = json!(9000);
        document["token"] = json!({"access": "A3", "refresh": "R3", "received_at": 1_000_000_000});
    });
    shared.load().await.unwrap();
    assert_eq!(reject("A3"), 2);
}

#[tokio::test(start_paused = true)]
async fn p19_p03_a_response_survives_the_runtime_of_its_refresh() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, cx| match cx.refresh_token() {
        Some("R1") => {
            store.set_hanging(true);
            token("A2", "R2")
        }
        _ => token("A3", "R3"),
    });
    let held = shared.session().token().await.unwrap();
    // A runtime that is shut down while the response is being saved.
    let (session, hanging) = (shared.session().clone(), store.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let waiter = tokio::spawn(async move { session.token_after_rejection(&held).await });
            while !hanging.is_hanging() {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            waiter.abort();
        });
    });
    thread.join().unwrap();
    store.set_hanging(false);
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A3");
    assert_eq!(*presented.lock().unwrap(), ["R1", "R2"]);
}
