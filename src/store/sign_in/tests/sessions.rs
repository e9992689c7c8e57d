//! What becomes of the session's changes, and of the session.

use std::sync::Arc;

use super::*;
use crate::store::{
    known::UnsavedToken,
    tests::{attach, unsaved},
};

/// Token 4000 couldn't be saved, and the record has a later one.
async fn overtaken() -> Protocol {
    let mut case = Case::new();
    case.with(5000, "A5 R5");
    case.known.unsaved = Some(unsaved());
    case.protocol().await
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_is_written_once() {
    let unchanged = "7 after [5, 6], 3000 of 3500, app, A3 R3";
    let set = |word| ChangeKind::Set { refresh_token: secret(word) };
    for (number, kind, token, expected, written) in [
        (5, ChangeKind::SignedOut, None, "new after [5, 6, 7], 4500 of 4500, app, nothing, signed out", 5),
        (5, ChangeKind::SignedIn, Some("A9 R9"), "new after [5, 6, 7], 4500 of 4500, app, A9 R9", 5),
        (5, set("R9"), Some("A9 R9"), "7 after [5, 6], 4500 of 4500, app, A9 R9", 5),
        (5, set("-"), Some("A9 R3"), "7 after [5, 6], 3001 of 3500, app, A9 R3", 5),
        (5, ChangeKind::SignedIn, None, unchanged, 4),
        (5, set("R9"), None, unchanged, 4),
        (4, ChangeKind::SignedOut, None, unchanged, 4),
        (3, ChangeKind::SignedOut, None, unchanged, 4),
    ] {
        let name = format!("{number} {kind:?}");
        let mut case = Case::new();
        case.known.written_change = 4;
        let protocol = case.protocol().await;
        let change = Some(Box::new(Change { number, kind }));
        let order = SaveOrder { id: 1, token: token.map(new_token), change };
        protocol.save_order(&order).await.unwrap();
        assert_eq!(record(&protocol).await, expected, "{name}");
        let known = protocol.known();
        assert_eq!(known.written_change, written, "{name}");
        assert_eq!(known.epoch == Some(7), expected.starts_with('7'), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_that_was_written_unnoticed_is_found() {
    let mut case = Case::of_session();
    case.own(Some(2)).record().epoch = 8;
    let protocol = case.protocol().await;
    let change = Some(Box::new(Change { number: 2, kind: ChangeKind::SignedIn }));
    protocol.save_order(&SaveOrder { id: 1, token: Some(new_token("A9 R9")), change }).await.unwrap();
    // The next look adopts its token.
    assert_eq!(shown(&protocol.known()), "8, 2999 A3 R3");
}

#[tokio::test(start_paused = true)]
async fn p19_each_write_of_changes_saves_a_token_that_could_not_be_saved() {
    let order = SaveOrder { id: 1, token: None, change: None };
    for is_order in [true, false] {
        let mut case = Case::new();
        case.known.unsaved = Some(unsaved());
        let protocol = case.protocol().await;
        match is_order {
            true => protocol.save_order(&order).await.unwrap(),
            false => protocol.write_unsaved().await.unwrap(),
        }
        assert_eq!(record(&protocol).await, "7 after [5, 6], 4000 of 4000, app, A4 R4");
        assert_eq!(shown(&protocol.known()), "7, 4000 A4 R4");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_the_session_adopts_a_token_that_overtook_its_own_now_or_later() {
    let protocol = overtaken().await;
    let session = attach(&protocol, |builder| builder);
    protocol.write_unsaved().await.unwrap();
    assert_eq!(shown(&protocol.known()), "7, 5000 A5 R5");
    assert!(session.status().is_fresh());

    let protocol = overtaken().await;
    let _session = attach(&protocol, |builder| builder.signed_out());
    protocol.write_unsaved().await.unwrap();
    assert_eq!(shown(&protocol.known()), "7, 4999 A5 R5");
}

#[tokio::test(start_paused = true)]
async fn p19_the_session_follows_its_own_sign_in_unless_it_has_changed_since() {
    for (sign_ins, is_signed_out, followed) in [(0, false, 1), (0, true, 1), (1, false, 0), (1, true, 0)] {
        let protocol = Case::new().protocol().await;
        let session = attach(&protocol, |builder| builder);
        let token = (!is_signed_out).then(|| token("A4 R4"));
        let document = Document { epoch: 9, by: 4000, signed_out: is_signed_out, token, ..document() };
        let held = held(document.token.as_ref());
        let done = WriteOutcome::Done(Box::new(document));
        protocol.follow_own(done, sign_ins).unwrap();
        let name = format!("{sign_ins} {is_signed_out}");
        assert_eq!(shown(&protocol.known()), format!("9, 4000 {held}"), "{name}");
        assert_eq!(protocol.known().sign_ins, followed, "{name}");
        assert_eq!(session.status().is_fresh(), followed == 1 && !is_signed_out, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_the_record_comes_first() {
    let protocol = Case::new().protocol().await;
    protocol.sign_in(new_token("A9 R9")).await.unwrap();
    assert_eq!(record(&protocol).await, "new after [5, 6, 7], 4500 of 4500, app, A9 R9");
    assert_eq!(held(protocol.known().token.as_ref()), "A9 R9");
    protocol.set_token(new_token("A8 -")).await.unwrap();
    assert_eq!(held(protocol.known().token.as_ref()), "A8 R9");
    let revocable = protocol.sign_out().await.unwrap();
    assert_eq!((revocable.access_token(), revocable.refresh_token()), (Some("A8"), Some("R9")));
    assert_eq!(held(protocol.known().token.as_ref()), "nothing");
    assert!(protocol.set_token(new_token("A7 -")).await.unwrap_err().is_signed_out());
}

#[tokio::test(start_paused = true)]
async fn p19_a_session_that_cannot_take_a_token_that_was_set_follows_the_record() {
    for (is_signed_out, followed) in [(false, 0), (true, 1)] {
        let protocol = Case::new().protocol().await;
        let session = match is_signed_out {
            true => attach(&protocol, |builder| builder.signed_out()),
            false => attach(&protocol, |builder| builder),
        };
        protocol.set_token(new_token("A9 R9")).await.unwrap();
        assert_eq!(protocol.known().sign_ins, followed, "{is_signed_out}");
        assert!(session.status().is_fresh(), "{is_signed_out}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_token_is_not_set_if_a_pending_write_finds_another_sign_in() {
    let mut case = Case::new();
    case.record().epoch = 9;
    case.known.unsaved = Some(UnsavedToken { by: 2000, ..unsaved() });
    let protocol = case.protocol().await;
    let before = record(&protocol).await;
    let _session = attach(&protocol, |builder| builder);
    assert!(protocol.set_token(new_token("A9 R9")).await.unwrap_err().is_signed_out());
    assert_eq!(record(&protocol).await, before);
    assert_eq!(shown(&protocol.known()), "9, 3000 A3 R3");
}

#[tokio::test(start_paused = true)]
async fn p19_a_write_that_was_replaced_writes_nothing() {
    let protocol = Case::new().protocol().await;
    let before = record(&protocol).await;
    let guard = protocol.lock_writes().await.unwrap();
    *protocol.write_lock.lock().unwrap() = Arc::default();
    let token = new_token("A9 R9");
    let (done, _) = protocol.write_sign_in(&guard, Some(&token), None).await.unwrap();
    assert_eq!(outcome(&protocol, &done).await, "replaced");
    let done = protocol.write_token(&guard, &token, None).await.unwrap();
    assert_eq!(outcome(&protocol, &done).await, "replaced");
    let change = Change { number: 1, kind: ChangeKind::SignedOut };
    assert!(protocol.write_change(&guard, &change, None).await.unwrap_err().is_unavailable());
    assert_eq!((record(&protocol).await, protocol.known().written_change), (before, 0));
}
