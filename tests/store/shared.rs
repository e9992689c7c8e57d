//! Sessions over one store: what one does, and when the others see it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep},
};
use tower_reauth::{
    RefreshError, Session, SessionBuilder, Token,
    event::EventKind,
    refresh::RefreshReason,
    rt::TestClock,
    store::{MemoryStore, SharedSession, SharedStore, StoreError},
};

use crate::{
    scripted::{NOW, ScriptedStore, claimed, open, record},
    support::{
        Endpoint, RecordedTokens, clock, endpoint, run_pending_tasks, spawn_refresh, spawn_token, token,
    },
};

const HOUR: Duration = Duration::from_secs(3600);

/// What the session would send at once.
fn held(shared: &SharedSession) -> Option<String> {
    shared.session().try_token().map(|token| token.secret().to_owned())
}

/// Refreshes, with this response.
async fn refreshed(shared: &SharedSession, endpoint: &mut Endpoint, spec: &str) {
    shared.load().await.unwrap();
    let respond = async { endpoint.next_call().await.succeed(spec) };
    let (token, ()) = tokio::join!(shared.session().refresh(), respond);
    token.unwrap();
}

/// The names of a session's events, but those of saves.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn listen(&self, builder: SessionBuilder) -> SessionBuilder {
        let events = self.clone();
        builder.on_event(move |event| {
            let name = format!("{:?}", event.kind);
            let name = name.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
            if name != "Saved" {
                events.0.lock().unwrap().push(name);
            }
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn builder(clock: &TestClock) -> (SessionBuilder, Endpoint) {
    let (refresher, endpoint) = endpoint();
    (Session::builder(refresher).jitter(false).clock(clock.clone()), endpoint)
}

// Looks.

#[tokio::test(start_paused = true)]
async fn b47_the_first_demand_reads_the_record() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    first.sign_in(token("A1 R1 600")).await.unwrap();

    let events = Events::default();
    let (builder, endpoint) = builder(&clock);
    let second = events.listen(builder).build_shared(store);
    assert!(held(&second).is_none() && !second.session().status().has_token());
    assert_eq!(second.session().token().await.unwrap().secret(), "A1");
    assert_eq!(endpoint.call_count(), 0);
    let events = events.take();
    assert!(events.contains(&"TokenAdopted".to_owned()), "{events:?}");
    assert!(!events.contains(&"Refreshed".to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn b47_load_reads_the_record_at_once() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    first.sign_in(token("A1 R1 600")).await.unwrap();

    let (second, endpoint) = open(&clock, store.clone());
    let mut watch = second.session().watch();
    second.load().await.unwrap();
    watch.changed().await.unwrap();
    assert!(watch.status().is_fresh());
    assert_eq!(held(&second).as_deref(), Some("A1"));

    let _ = first.sign_out().await.unwrap();
    let (third, third_endpoint) = open(&clock, store);
    third.load().await.unwrap();
    let status = third.session().status();
    assert!(status.is_signed_out() && status.needs_sign_in());
    assert!(third.session().token().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), third_endpoint.call_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn p19_who_is_refused_the_token_looks_before_it_asks() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, mut first_endpoint) = open(&clock, store.clone());
    let (second, second_endpoint) = open(&clock, store);
    first.sign_in(token("A1 R1 600")).await.unwrap();
    let old = second.session().token().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    refreshed(&first, &mut first_endpoint, "A2 R2 600").await;
    let new = second.session().token_after_rejection(&old).await.unwrap();
    assert_eq!((new.secret(), second_endpoint.call_count()), ("A2", 0));
}

// Seeds.

#[tokio::test(start_paused = true)]
async fn p19_a_seed_is_written_if_there_is_no_record() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (builder, endpoint) = builder(&clock);
    let shared = builder.token(token("S1 SR1 600")).build_shared(store.clone());
    assert_eq!(shared.session().token().await.unwrap().secret(), "S1");
    let written = store.document();
    assert_eq!((&written["token"]["access"], &written["token"]["refresh"]), (&json!("S1"), &json!("SR1")));
    assert_eq!(written["token"]["expires_at"], json!(NOW + 600_000));
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_refresh_token_as_the_seed_is_presented_under_a_claim() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (builder, mut endpoint) = builder(&clock);
    let shared = builder.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!((call.cx.refresh_token(), call.cx.reason()), (Some("SR1"), RefreshReason::Initial));
    let written = store.document();
    assert_eq!((&written["token"]["refresh"], &written["claim"]["n"]), (&json!("SR1"), &json!(1000)));
    call.succeed("A2 R2 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_seed_never_replaces_a_record() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let before = store.bytes();
    for seed in ["S1 SR1 600", "S1 SR1 0"] {
        let (builder, endpoint) = builder(&clock);
        let shared = builder.token(token(seed)).build_shared(store.clone());
        assert!(held(&shared).is_none());
        assert_eq!(shared.session().token().await.unwrap().secret(), "A1");
        assert_eq!((endpoint.call_count(), store.bytes()), (0, before.clone()));
    }
    store.edit(|document| document["token"]["expires_at"] = json!(NOW));
    let (builder, mut endpoint) = builder(&clock);
    let shared = builder.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    call.succeed("A2 R2 600");
    waiter.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_a_seed_is_for_the_first_start_only() {
    let signed_out = json!({"v": 1, "w": "w", "epoch": 7, "signed_out": true});
    let (clock, store) = (clock(), ScriptedStore::new(&signed_out));
    let before = store.bytes();
    let (with_seed, endpoint) = builder(&clock);
    let shared = with_seed.token(token("S1 SR1 600")).build_shared(store.clone());
    assert!(shared.session().token().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), store.bytes()), (0, before));

    // Who has known a record takes a missing one for a sign-out.
    let (with_seed, endpoint) = builder(&clock);
    store.write(record("A1", "R1", 600).to_string());
    let shared = with_seed.token(token("S1 SR1 600")).build_shared(store.clone());
    shared.load().await.unwrap();
    store.delete();
    assert!(shared.session().refresh().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), store.bytes()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn p19_a_spent_seed_ends_the_grant_once() {
    let (clock, store) = (clock(), ScriptedStore::default());
    // The record was lost, and the configuration has the refresh token of the first start.
    let (with_seed, mut endpoint) = builder(&clock);
    let shared = with_seed.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    assert_eq!(store.document()["ended"]["by"], store.document()["by"]);

    // With a new seed the record stays.
    let (with_seed, endpoint) = builder(&clock);
    let shared = with_seed.refresh_token("SR2").build_shared(store.clone());
    assert!(shared.session().token().await.unwrap_err().is_grant_ended());
    assert_eq!((endpoint.call_count(), &store.document()["token"]["refresh"]), (0, &json!("SR1")));
}

// Sign-ins, sign-outs and tokens that are set.

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

// Following.

fn follow(shared: &SharedSession) -> JoinHandle<()> {
    tokio::spawn(shared.follow())
}

/// Three followers get a new token, a sign-in and a sign-out, each within this time and without a call.
async fn assert_followed<S: tower_reauth::store::TokenStore + Clone>(
    store: impl Fn() -> SharedStore<S>,
    within: Duration,
) {
    let clock = clock();
    let (writer, mut endpoint) = open(&clock, store());
    writer.sign_in(token("A1 R1 36000")).await.unwrap();
    let followers: Vec<_> = (0..3).map(|_| open(&clock, store())).collect();
    let tasks: Vec<_> = followers.iter().map(|(shared, _)| follow(shared)).collect();
    let assert_held = async |expected: Option<&str>| {
        sleep(within).await;
        for (shared, endpoint) in &followers {
            assert_eq!(held(shared).as_deref(), expected);
            assert_eq!(endpoint.call_count(), 0);
        }
    };
    assert_held(Some("A1")).await;
    refreshed(&writer, &mut endpoint, "A2 R2 36000").await;
    assert_held(Some("A2")).await;
    writer.sign_in(token("A3 R3 36000")).await.unwrap();
    assert_held(Some("A3")).await;
    writer.set_token(token("A4 R4 36000")).await.unwrap();
    assert_held(Some("A4")).await;
    let _ = writer.sign_out().await.unwrap();
    assert_held(None).await;
    assert!(followers.iter().all(|(shared, _)| shared.session().status().is_signed_out()));
    writer.sign_in(token("A5 R5 36000")).await.unwrap();
    assert_held(Some("A5")).await;

    drop(followers);
    for task in tasks {
        // The timeout only ends a test that would hang.
        tokio::time::timeout(HOUR, task).await.expect("it ends with the session").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p19_followers_are_notified() {
    let store = MemoryStore::new();
    let slow = Duration::from_secs(1_000_000);
    let over = || SharedStore::new(store.with_name("one")).test_times(Duration::from_secs(4), slow);
    assert_followed(over, Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_followers_over_clones_of_a_memory_store_are_notified() {
    let store = MemoryStore::new();
    let slow = Duration::from_secs(1_000_000);
    let over = || SharedStore::new(store.clone()).test_times(Duration::from_secs(4), slow);
    assert_followed(over, Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_followers_poll() {
    let store = ScriptedStore::default();
    assert_followed(|| SharedStore::new(store.clone()), Duration::from_secs(6)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_of_one_record_does_not_wake_the_follower_of_another() {
    let (clock, store) = (clock(), MemoryStore::new());
    let slow = Duration::from_secs(1_000_000);
    let over = |name| SharedStore::new(store.with_name(name)).test_times(Duration::from_secs(4), slow);
    let (one, _) = open(&clock, over("one"));
    let (two, _) = open(&clock, over("two"));
    one.sign_in(token("A1 R1 36000")).await.unwrap();
    let task = follow(&one);
    run_pending_tasks().await;
    let mut watch = one.session().watch();
    two.sign_in(token("B1 S1 36000")).await.unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(100), watch.changed()).await;
    assert!(changed.is_err() && held(&one).as_deref() == Some("A1"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn p19_a_follower_goes_on_when_the_store_is_back() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 36_000)));
    let (shared, endpoint) = open(&clock, store.clone());
    let task = follow(&shared);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    store.set_down(true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"]["access"] = json!("A2");
    });
    store.set_down(false);
    sleep(Duration::from_secs(6)).await;
    assert_eq!((held(&shared).as_deref(), endpoint.call_count()), (Some("A2"), 0));
    task.abort();
}

// The user's own hooks, and what can be observed.

#[tokio::test(start_paused = true)]
async fn p17_the_users_own_hook_gets_every_change() {
    let (clock, store) = (clock(), MemoryStore::new());
    let saved = RecordedTokens::default();
    let (with_hook, mut endpoint) = builder(&clock);
    let shared = with_hook.save_with(saved.hook()).build_shared(store.clone());
    let (other, mut other_endpoint) = open(&clock, store);
    let mut expected = Vec::new();
    let mut assert_saved = async |entry: &str| {
        shared.load().await.unwrap();
        shared.session().idle().await;
        expected.push(entry.to_owned());
        assert_eq!(saved.all(), expected);
    };
    shared.sign_in(token("A1 R1 600")).await.unwrap();
    assert_saved("A1 R1").await;
    refreshed(&shared, &mut endpoint, "A2 R2 600").await;
    assert_saved("A2 R2").await;
    refreshed(&other, &mut other_endpoint, "A3 R3 600").await;
    assert_saved("A3 R3").await;
    other.set_token(token("A4 - 600")).await.unwrap();
    assert_saved("A4 R3").await;
    shared.set_token(token("A5 - 600")).await.unwrap();
    assert_saved("A5 R3").await;
    shared.session().set_token(token("A6 R6 600")).unwrap();
    assert_saved("A6 R6").await;
    other.sign_in(token("A7 R7 600")).await.unwrap();
    assert_saved("A7 R7").await;
    let _ = other.sign_out().await.unwrap();
    assert_saved("-").await;
    shared.session().sign_in(token("A8 R8 600"));
    assert_saved("A8 R8").await;
    let _ = shared.sign_out().await.unwrap();
    assert_saved("-").await;
}

#[tokio::test(start_paused = true)]
async fn p17_the_record_is_written_before_the_users_own_hook_is_called() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    let (with_hook, mut endpoint) = builder(&clock);
    let save = {
        let (store, seen) = (store.clone(), Arc::clone(&seen));
        move |_: Option<Token>| {
            seen.lock().unwrap().push(store.document()["token"]["access"].clone());
            async { Ok::<_, tower_reauth::RefreshError>(()) }
        }
    };
    let shared = with_hook.save_with(save).build_shared(store);
    refreshed(&shared, &mut endpoint, "A2 R2 600").await;
    shared.session().sign_in(token("A3 R3 600"));
    shared.session().idle().await;
    assert_eq!(*seen.lock().unwrap(), [json!("A2"), json!("A3")]);
}

#[tokio::test(start_paused = true)]
async fn p19_events_say_what_other_processes_did() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let events = Events::default();
    let (with_events, _) = builder(&clock);
    let shared = events.listen(with_events).build_shared(store.clone());
    let (other, mut other_endpoint) = open(&clock, store.clone());
    let assert_events = async |expected: &[&str]| {
        let _ = shared.load().await;
        run_pending_tasks().await;
        assert_eq!(events.take(), expected);
    };
    assert_events(&["TokenAdopted"]).await;
    assert_events(&[]).await;
    refreshed(&other, &mut other_endpoint, "A2 R2 600").await;
    assert_events(&["TokenAdopted"]).await;
    store.set_down(true);
    assert_events(&["StoreFailed"]).await;
    store.set_down(false);
    let _ = other.sign_out().await.unwrap();
    assert_events(&["SignedOut"]).await;
    assert_events(&[]).await;
    other.sign_in(token("A3 R3 600")).await.unwrap();
    assert_events(&["SignedIn"]).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_failure_of_the_store_is_in_its_event() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let errors = Arc::<Mutex<Vec<_>>>::default();
    let (with_events, _) = builder(&clock);
    let listener = Arc::clone(&errors);
    let with_events = with_events.on_event(move |event| {
        if let EventKind::StoreFailed { error, .. } = &event.kind {
            listener.lock().unwrap().push(error.clone());
        }
    });
    let shared = with_events.build_shared(store.clone());
    store.set_down(true);
    shared.load().await.unwrap_err();
    store.set_down(false);
    store.write("torn");
    shared.load().await.unwrap_err();
    let errors = errors.lock().unwrap();
    let [down, torn] = &errors[..] else { panic!("{errors:?}") };
    assert!(down.is_transient() && StoreError::find(down).is_some_and(StoreError::is_unavailable));
    assert!(torn.is_misconfigured() && StoreError::find(torn).is_some_and(StoreError::is_unreadable));
}

#[tokio::test(start_paused = true)]
async fn p19_a_watch_sees_what_other_processes_did() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (shared, _) = open(&clock, store.clone());
    let (other, mut endpoint) = open(&clock, store);
    let task = follow(&shared);
    run_pending_tasks().await;
    let mut watch = shared.session().watch();
    other.sign_in(token("A1 R1 600")).await.unwrap();
    watch.changed().await.unwrap();
    let status = watch.status();
    assert!(status.is_fresh() && !status.needs_sign_in() && status.last_error().is_none());
    let generation = status.generation();
    refreshed(&other, &mut endpoint, "A2 R2 600").await;
    watch.changed().await.unwrap();
    assert!(watch.status().generation() > generation);
    advance(Duration::from_secs(580)).await;
    assert!(watch.status().is_expired());
    let _ = other.sign_out().await.unwrap();
    while !watch.status().needs_sign_in() {
        watch.changed().await.unwrap();
    }
    drop(shared);
    while watch.changed().await.is_ok() {}
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_waiters_of_one_process_share_a_look() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store);
    let waiters: Vec<_> = (0..50).map(|_| spawn_refresh(shared.session())).collect();
    endpoint.next_call().await.succeed("A2 R2 600");
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    }
    assert_eq!(endpoint.call_count(), 1);
}
