//! Sign-ins, sign-outs and tokens that are set: what one session does, and when the others see it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_reauth::{
    RefreshError,
    store::{MemoryStore, SharedSession, StoreError},
};

use crate::{
    scripted::{ScriptedStore, builder, claimed, held, open, record, refreshed},
    support::{RecordedTokens, clock, run_pending_tasks, spawn_token, token},
};

const HOUR: Duration = Duration::from_secs(3600);

/// What a process does.
#[derive(Clone, Copy, Debug)]
enum Action {
    SignIn,
    SignOut,
    SetToken,
    SetBoth,
}

const ACTIONS: [Action; 4] = [Action::SignIn, Action::SignOut, Action::SetToken, Action::SetBoth];

impl Action {
    /// `is_sync`: by the session itself, which writes it right after that.
    async fn run(self, shared: &SharedSession, is_sync: bool) {
        let session = shared.session();
        match (self, is_sync) {
            (Self::SignIn, false) => shared.sign_in(token("U2 UR2 600")).await.unwrap(),
            (Self::SignIn, true) => session.sign_in(token("U2 UR2 600")),
            (Self::SignOut, false) => drop(shared.sign_out().await.unwrap()),
            (Self::SignOut, true) => drop(session.sign_out()),
            (Self::SetToken, false) => shared.set_token(token("A5 - 600")).await.unwrap(),
            (Self::SetToken, true) => session.set_token(token("A5 - 600")).unwrap(),
            (Self::SetBoth, false) => shared.set_token(token("A5 R5 600")).await.unwrap(),
            (Self::SetBoth, true) => session.set_token(token("A5 R5 600")).unwrap(),
        }
        // A refresh may be in flight, so this doesn't wait until the session is idle.
        run_pending_tasks().await;
    }

    /// What everybody holds then.
    fn access(self) -> Option<&'static str> {
        match self {
            Self::SignIn => Some("U2"),
            Self::SignOut => None,
            Self::SetToken | Self::SetBoth => Some("A5"),
        }
    }

    fn is_of_another_sign_in(self) -> bool {
        matches!(self, Self::SignIn | Self::SignOut)
    }
}

#[tokio::test(start_paused = true)]
async fn c98_what_one_session_does_the_others_see_at_their_next_look() {
    for action in ACTIONS {
        for is_sync in [false, true] {
            let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
            let (first, first_endpoint) = open(&clock, store.clone());
            let (second, second_endpoint) = open(&clock, store.clone());
            first.load().await.unwrap();
            second.load().await.unwrap();
            action.run(&first, is_sync).await;
            assert_eq!(held(&first).as_deref(), action.access(), "{action:?} {is_sync}");
            assert_eq!(store.document()["token"]["access"].as_str(), action.access(), "{action:?} {is_sync}");
            assert!(!first.session().status().is_unsaved());
            assert_eq!(held(&second).as_deref(), Some("A1"), "{action:?} {is_sync}");
            second.load().await.unwrap();
            assert_eq!(held(&second).as_deref(), action.access(), "{action:?} {is_sync}");
            assert_eq!(second.session().status().is_signed_out(), action.access().is_none());
            assert_eq!((first_endpoint.call_count(), second_endpoint.call_count()), (0, 0));
            let refresh_token = match action {
                Action::SignIn => Some("UR2"),
                Action::SignOut => None,
                Action::SetToken => Some("R1"),
                Action::SetBoth => Some("R5"),
            };
            assert_eq!(store.document()["token"]["refresh"].as_str(), refresh_token, "{action:?} {is_sync}");
        }
    }
}

/// In which phase a refresh is when another process, or the same, acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// It waits for a claim that a third process has.
    Waiting,
    /// It has presented the refresh token.
    Presenting,
}

/// A waiter never gets another user's token, what is obtained for the user before is revoked, and the record has what
/// was done last.
async fn act_during(phase: Phase, action: Action, is_sync: bool, by_itself: bool) {
    let what = format!("{phase:?} {action:?} {is_sync} {by_itself}");
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let revoked = RecordedTokens::default();
    let (refreshing, mut endpoint) = builder(&clock);
    let revoke = revoked.hook();
    let refreshing = refreshing.revoke_with(move |token| revoke(Some(token))).build_shared(store.clone());
    let (other, _) = open(&clock, store.clone());
    refreshing.load().await.unwrap();
    other.load().await.unwrap();
    sleep(Duration::from_secs(600)).await;
    if phase == Phase::Waiting {
        store.write(claimed("A1", "R1", 600).to_string());
    }

    let waiter = spawn_token(refreshing.session());
    let call = match phase {
        Phase::Waiting => {
            sleep(Duration::from_secs(2)).await;
            None
        }
        Phase::Presenting => Some(endpoint.next_call().await),
    };
    action.run(if by_itself { &refreshing } else { &other }, is_sync).await;
    if let Some(call) = call {
        call.succeed("A2 R2 600");
    }
    let result = waiter.await.unwrap();
    refreshing.session().idle().await;
    run_pending_tasks().await;
    let document = store.document();
    assert_eq!(document["token"]["access"].as_str(), action.access(), "{what}");
    if action.is_of_another_sign_in() {
        let error = result.unwrap_err();
        assert!(error.is_signed_out(), "{what}: {error:?}");
        let obtained = if phase == Phase::Presenting { vec!["A2 R2".to_owned()] } else { Vec::new() };
        assert_eq!(revoked.all(), obtained, "{what}");
        assert_eq!(document["claim"], Value::Null, "{what}");
        refreshing.load().await.unwrap();
        assert_eq!(held(&refreshing).as_deref(), action.access(), "{what}");
    } else {
        // An access token that is set gets the successor; another refresh token stays.
        assert_eq!(result.unwrap().secret(), "A5", "{what}");
        let refresh_token = match (action, phase) {
            (Action::SetBoth, _) => "R5",
            (_, Phase::Presenting) => "R2",
            (_, Phase::Waiting) => "R1",
        };
        assert_eq!(document["token"]["refresh"], json!(refresh_token), "{what}");
        assert!(revoked.all().is_empty(), "{what}");
    }
}

/// A process has just started, and waits for another's claim. Its first look has shown the user.
#[tokio::test(start_paused = true)]
async fn c100_a_waiter_of_a_process_that_has_just_started_gets_no_other_users_token() {
    let (clock, store) = (clock(), ScriptedStore::new(&claimed("A1", "R1", 0)));
    let (shared, _) = open(&clock, store.clone());
    let (other, _) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    sleep(Duration::from_secs(2)).await;
    other.sign_in(token("U2 UR2 600")).await.unwrap();
    let result = waiter.await.unwrap();
    assert!(result.as_ref().is_err_and(|error| error.is_signed_out()), "{result:?}");
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
}

#[tokio::test(start_paused = true)]
async fn c100_another_process_acts_while_one_presents() {
    for action in ACTIONS {
        for is_sync in [false, true] {
            act_during(Phase::Presenting, action, is_sync, false).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c100_another_process_acts_while_one_waits() {
    for action in ACTIONS {
        for is_sync in [false, true] {
            act_during(Phase::Waiting, action, is_sync, false).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c100_a_process_acts_while_it_presents() {
    for action in ACTIONS {
        for is_sync in [false, true] {
            act_during(Phase::Presenting, action, is_sync, true).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c100_a_process_acts_while_it_waits() {
    for action in ACTIONS {
        for is_sync in [false, true] {
            act_during(Phase::Waiting, action, is_sync, true).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p19_sign_out_returns_what_the_record_had() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    let (second, mut endpoint) = open(&clock, store);
    first.sign_in(token("A1 R1 600")).await.unwrap();
    refreshed(&second, &mut endpoint, "A2 R2 600").await;
    assert_eq!(held(&first).as_deref(), Some("A1"));
    let tokens = first.sign_out().await.unwrap();
    assert_eq!((tokens.access_token(), tokens.refresh_token()), (Some("A2"), Some("R2")));
    let tokens = first.sign_out().await.unwrap();
    assert_eq!((tokens.access_token(), tokens.refresh_token()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn p19_only_a_sign_in_undoes_a_sign_out() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    let (second, _) = open(&clock, store);
    first.sign_in(token("A1 R1 600")).await.unwrap();
    second.load().await.unwrap();
    let _ = first.sign_out().await.unwrap();
    assert!(second.set_token(token("A5 R5 600")).await.unwrap_err().is_signed_out());
    assert!(second.session().status().is_signed_out());
    second.sign_in(token("A6 R6 600")).await.unwrap();
    first.load().await.unwrap();
    assert_eq!(held(&first).as_deref(), Some("A6"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_that_the_store_refuses_changes_nothing() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, _) = open(&clock, store.clone());
    shared.load().await.unwrap();
    shared.session().idle().await;
    store.set_down(true);
    let errors = [
        shared.sign_in(token("U2 UR2 600")).await.unwrap_err(),
        shared.set_token(token("A5 R5 600")).await.unwrap_err(),
        shared.sign_out().await.unwrap_err(),
        shared.load().await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_transient(), "{error:?}");
        assert!(StoreError::find(&error).is_some_and(StoreError::is_unavailable), "{error:?}");
    }
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    assert!(!shared.session().status().is_unsaved());
}

#[tokio::test(start_paused = true)]
async fn c16_a_change_of_the_session_is_written_when_the_store_is_back() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, _) = open(&clock, store.clone());
    shared.load().await.unwrap();
    store.set_down(true);
    shared.session().sign_in(token("U2 UR2 600"));
    shared.session().idle().await;
    assert_eq!(held(&shared).as_deref(), Some("U2"));
    assert!(shared.session().status().is_unsaved());
    store.set_down(false);
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["refresh"], json!("UR2"));
    shared.session().shutdown(HOUR).await.unwrap();
    assert!(!shared.session().status().is_unsaved());
}

// Records that are deleted, and sessions that are served again.

#[tokio::test(start_paused = true)]
async fn p19_a_deleted_record_is_a_sign_out_that_the_users_own_hook_is_not_called_for() {
    let (clock, store) = (clock(), MemoryStore::new());
    let saved = RecordedTokens::default();
    let (with_hook, endpoint) = builder(&clock);
    let shared = with_hook.save_with(saved.hook()).build_shared(store.clone());
    shared.sign_in(token("A1 R1 600")).await.unwrap();
    shared.session().idle().await;
    store.delete();
    shared.load().await.unwrap();
    shared.session().idle().await;
    assert!(shared.session().status().is_signed_out());
    assert_eq!((saved.all(), endpoint.call_count()), (vec!["A1 R1".to_owned()], 0));
    assert!(shared.session().token().await.unwrap_err().is_signed_out());

    // Whatever comes is another sign-in.
    let (other, _) = open(&clock, store);
    other.sign_in(token("A3 R3 600")).await.unwrap();
    shared.load().await.unwrap();
    shared.session().idle().await;
    assert_eq!(held(&shared).as_deref(), Some("A3"));
    assert_eq!(saved.all(), ["A1 R1", "A3 R3"]);
}

/// Demands at this pace until one is served, and returns how long that took.
async fn served_after(shared: &SharedSession) -> Duration {
    let start = Instant::now();
    while shared.session().token().await.is_err() {
        assert!(start.elapsed() < HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn p19_a_grant_that_ended_is_served_again_after_a_sign_in_elsewhere() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    assert!(shared.session().status().needs_sign_in());

    let (other, other_endpoint) = open(&clock, store.clone());
    assert!(other.session().token().await.unwrap_err().is_grant_ended());
    other.sign_in(token("A3 R3 600")).await.unwrap();
    let after = served_after(&shared).await;
    assert!(after <= Duration::from_secs(3), "{after:?}");
    assert_eq!(held(&shared).as_deref(), Some("A3"));
    assert_eq!((endpoint.call_count(), other_endpoint.call_count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn p19_a_grant_that_ended_is_served_again_after_a_token_was_set_elsewhere() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    let (other, _) = open(&clock, store.clone());
    other.load().await.unwrap();
    other.set_token(token("A3 R3 600")).await.unwrap();
    assert_eq!(store.document()["ended"], Value::Null);
    let after = served_after(&shared).await;
    assert!(after <= Duration::from_secs(3), "{after:?}");
    assert_eq!((held(&shared).as_deref(), endpoint.call_count()), (Some("A3"), 1));
}

#[tokio::test(start_paused = true)]
async fn p19_signed_out_elsewhere_is_served_again_after_a_sign_in_elsewhere() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (other, _) = open(&clock, store.clone());
    other.sign_in(token("A1 R1 600")).await.unwrap();
    let (shared, endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    let _ = other.sign_out().await.unwrap();
    shared.load().await.unwrap();
    assert!(shared.session().token().await.unwrap_err().is_signed_out());
    other.sign_in(token("A3 R3 600")).await.unwrap();
    let after = served_after(&shared).await;
    assert!(after <= Duration::from_secs(3), "{after:?}");
    assert_eq!((held(&shared).as_deref(), endpoint.call_count()), (Some("A3"), 0));
}

#[tokio::test(start_paused = true)]
async fn p19_signed_out_here_is_not_undone_by_looking() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    store.set_down(true);
    drop(shared.session().sign_out());
    for _ in 0..100 {
        assert!(shared.session().token().await.unwrap_err().is_signed_out());
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_p10_a_late_response_does_not_undo_a_sign_in_after_a_deletion() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    store.delete();
    shared.load().await.unwrap();
    store.set_down(true);
    shared.session().sign_in(token("U2 UR2 600"));
    call.succeed("A2 R2 600");
    assert!(waiter.await.unwrap().unwrap_err().is_signed_out());
    run_pending_tasks().await;
    store.set_down(false);
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U2"));
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
}
