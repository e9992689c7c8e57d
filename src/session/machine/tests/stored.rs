//! What a session takes from its store, and what it has changed that the store lacks.

use super::{
    super::*,
    tables::{Tester, failed, token},
};
use crate::{
    event::{Event, EventKind, HookError},
    refresh::RefreshError,
};

/// Holds A1 and R1, and its store has them, too.
fn shared() -> Tester {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Store;
    tester
}

fn signed_out() -> Tester {
    let mut tester = Tester::signed_out(false);
    tester.machine.persistence = Persistence::Store;
    tester
}

/// Ends the save that the last step began.
fn end_save(tester: &mut Tester, result: Result<(), HookError>) {
    let order = tester.effects.save.take().expect("a save begins");
    tester.step(|turn| turn.save_ended(order.id, result));
}

fn events(tester: &Tester) -> Vec<String> {
    let name = |event: &Event| {
        let shown = format!("{:?}", event.kind);
        shown.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
    };
    tester.effects.events.iter().map(name).collect()
}

/// What the user has changed that no save has written, with a set refresh token.
fn unsaved(tester: &Tester) -> Option<String> {
    let (change, _) = tester.machine.unsaved_change()?;
    Some(match &change.kind {
        ChangeKind::SignedIn => format!("{} signed in", change.number),
        ChangeKind::SignedOut => format!("{} signed out", change.number),
        ChangeKind::Set { refresh_token: None } => format!("{} set", change.number),
        ChangeKind::Set { refresh_token: Some(refresh_token) } => {
            format!("{} set {}", change.number, refresh_token.expose())
        }
    })
}

// === Taking a token ===

#[test]
fn p19_a_newer_token_of_the_store_is_taken() {
    let mut tester = shared();
    assert!(tester.step(|turn| turn.adopt_stored(token("A2 R2 600"), 0)));
    assert_eq!((tester.holds().as_str(), events(&tester)), ("A2 R2", vec!["TokenAdopted".to_owned()]));
    assert!(tester.effects.publish);
}

#[test]
fn p19_a_token_of_the_store_is_not_taken_in_the_way_of_something_newer() {
    let refuse = |tester: &mut Tester, changes: u64, case: &str| {
        let before = tester.holds();
        assert!(!tester.step(|turn| turn.adopt_stored(token("A9 R9 600"), changes)), "{case}");
        assert_eq!(tester.holds(), before, "{case}");
    };
    refuse(&mut signed_out(), 0, "nobody is signed in");
    refuse(&mut shared(), 1, "the count of changes is another");

    let mut tester = shared();
    tester.start();
    refuse(&mut tester, 0, "a refresh is in flight");

    let mut tester = shared();
    tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
    refuse(&mut tester, 1, "a change is being saved");

    let mut tester = shared();
    tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
    end_save(&mut tester, Err(HookError::TIMED_OUT));
    refuse(&mut tester, 1, "a change isn't saved");

    let mut tester = shared();
    tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
    end_save(&mut tester, Ok(()));
    assert!(tester.step(|turn| turn.adopt_stored(token("A3 R3 600"), 1)), "all is saved");
}

#[test]
fn p19_a_taken_token_says_whether_it_ends_failures() {
    for (fails, expected) in [(false, false), (true, true)] {
        let mut tester = shared();
        if fails {
            tester.refresh(failed(RefreshError::transient("503")));
        }
        assert!(tester.step(|turn| turn.adopt_stored(token("A2 R2 600"), 0)));
        let recovered = tester.effects.events.iter().find_map(|event| match event.kind {
            EventKind::TokenAdopted { recovered } => Some(recovered),
            _ => None,
        });
        assert_eq!(recovered, Some(expected));
    }
}

#[test]
fn p19_a_token_that_is_in_the_store_already_is_set_only_in_its_sign_in() {
    let mut tester = shared();
    assert!(tester.step(|turn| turn.set_stored(token("A2 R2 600"))));
    assert_eq!((tester.holds().as_str(), unsaved(&tester)), ("A2 R2", None));
    let mut tester = signed_out();
    assert!(!tester.step(|turn| turn.set_stored(token("A2 R2 600"))));
    assert_eq!(tester.holds(), "nothing");
}

// === Sign-ins and sign-outs elsewhere ===

#[test]
fn p19_a_store_without_a_sign_in_signs_out_unless_the_user_has_acted_since() {
    for (acts, sign_ins, holds) in [(false, 0, "- -"), (true, 0, "A2 R2"), (true, 1, "- -")] {
        let mut tester = shared();
        if acts {
            tester.step(|turn| turn.sign_in(token("A2 R2 600")));
        }
        tester.step(|turn| turn.find_signed_out(sign_ins));
        assert_eq!(tester.holds(), holds, "{acts} {sign_ins}");
        assert_eq!(tester.machine.is_signed_out(), holds == "- -");
    }
    let mut tester = signed_out();
    tester.step(|turn| turn.find_signed_out(0));
    assert_eq!((tester.holds().as_str(), events(&tester).len()), ("nothing", 0), "it was signed out");
}

#[test]
fn p19_a_followed_sign_in_replaces_what_the_user_has_changed() {
    for (followed, holds) in [(Some("B1 S1 600"), "B1 S1"), (None, "- -")] {
        let mut tester = shared();
        tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
        tester.step(|turn| turn.set(token("A3 R3 600"))).unwrap();
        assert_eq!(unsaved(&tester).as_deref(), Some("2 set R3"));
        let changes = tester.step(|turn| turn.follow_sign_in(followed.map(token)));
        assert_eq!((changes, tester.holds().as_str(), unsaved(&tester)), (2, holds, None));
        assert!(!tester.machine.is_signed_out() && tester.effects.publish);
        assert_eq!(events(&tester)[0], "SignedIn");
    }
}

#[test]
fn p19_a_followed_sign_out_is_one_event_and_one_erasure() {
    for erases in [true, false] {
        let mut tester = shared();
        tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
        end_save(&mut tester, Ok(()));
        let changes = tester.step(|turn| turn.follow_sign_out(erases));
        assert_eq!((changes, unsaved(&tester)), (1, None));
        assert_eq!((tester.holds().as_str(), events(&tester)), ("- -", vec!["SignedOut".to_owned()]));
        assert!(tester.machine.is_signed_out());
        assert_eq!(tester.effects.save.is_some(), erases);
        assert!(tester.effects.save.as_ref().is_none_or(|order| order.token.is_none()));
        if erases {
            end_save(&mut tester, Ok(()));
        }
        tester.step(|turn| turn.follow_sign_out(erases));
        assert!(tester.effects.save.is_none() && tester.effects.events.is_empty(), "it was signed out");
    }
}

/// A call looks into the store again after a sign-out elsewhere, and not after one here.
#[test]
fn p19_only_a_session_that_is_signed_out_stays_so() {
    let mut tester = shared();
    tester.step(|turn| turn.stay_signed_out());
    assert_eq!(tester.holds(), "A1 R1");
    tester.step(|turn| turn.follow_sign_out(false));
    assert_eq!(tester.holds(), "- -");
    tester.step(|turn| turn.stay_signed_out());
    assert_eq!(tester.holds(), "nothing");
    assert!(tester.effects.publish);
}

// === What the store lacks ===

#[test]
fn p19_changes_and_sign_ins_are_counted() {
    let mut tester = shared();
    let counts = |tester: &Tester| (tester.machine.changes(), tester.machine.sign_ins());
    assert_eq!(counts(&tester), (0, 0));
    tester.step(|turn| turn.set(token("A2 R2 600"))).unwrap();
    assert_eq!(counts(&tester), (1, 0));
    tester.step(|turn| turn.sign_in(token("B1 S1 600")));
    assert_eq!(counts(&tester), (2, 1));
    tester.step(|turn| drop(turn.sign_out()));
    assert_eq!(counts(&tester), (3, 2));
    tester.step(|turn| turn.sign_in(token("C1 T1 600")));
    tester.step(|turn| turn.set(token("C2 T2 600"))).unwrap();
    assert_eq!(counts(&tester), (5, 3));
}

/// The first change is being saved while the others are made.
#[test]
fn p19_changes_are_written_as_one() {
    let set = |spec: &'static str| move |turn: &mut Turn<'_>| turn.set(token(spec)).unwrap();
    let sign_in = |turn: &mut Turn<'_>| turn.sign_in(token("B1 S1 600"));
    let sign_out = |turn: &mut Turn<'_>| drop(turn.sign_out());
    type Step = Box<dyn FnOnce(&mut Turn<'_>)>;
    let cases: [(Vec<Step>, &str); 7] = [
        (vec![Box::new(set("A2 R2 600"))], "1 set R2"),
        (vec![Box::new(set("A2 - 600"))], "1 set"),
        (vec![Box::new(set("A2 R2 600")), Box::new(set("A3 - 600"))], "2 set R2"),
        (vec![Box::new(set("A2 R2 600")), Box::new(set("A3 R3 600"))], "2 set R3"),
        (vec![Box::new(sign_in), Box::new(set("B2 S2 600"))], "2 signed in"),
        (vec![Box::new(set("A2 R2 600")), Box::new(sign_out)], "2 signed out"),
        (vec![Box::new(sign_out), Box::new(sign_in), Box::new(set("B2 - 600"))], "3 signed in"),
    ];
    for (steps, expected) in cases {
        let mut tester = shared();
        let mut first = None;
        for step in steps {
            tester.step(step);
            first = first.or(tester.effects.save.take());
        }
        assert_eq!(unsaved(&tester).as_deref(), Some(expected), "while it is saved");
        let first = first.expect("a save begins");
        tester.step(|turn| turn.save_ended(first.id, Err(HookError::TIMED_OUT)));
        assert_eq!(unsaved(&tester).as_deref(), Some(expected), "after it failed");
    }
}

#[test]
fn p17_the_first_save_after_one_that_failed_is_reported_as_a_recovery() {
    let mut tester = shared();
    let mut recovered = Vec::new();
    for (access, result) in [("A2", Err(HookError::TIMED_OUT)), ("A3", Ok(())), ("A4", Ok(()))] {
        tester.step(|turn| turn.set(token(&format!("{access} - 600")))).unwrap();
        end_save(&mut tester, result);
        recovered.extend(tester.effects.events.iter().filter_map(|event| match event.kind {
            EventKind::Saved { recovered } => Some(recovered),
            _ => None,
        }));
    }
    assert_eq!(recovered, [true, false]);
}
