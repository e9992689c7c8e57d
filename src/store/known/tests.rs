//! What is known after each step, as tables.

use super::*;

const SECOND: Nanos = 1_000_000_000;
const WALL: Nanos = 1_700_000_000 * SECOND;

/// The clocks so many seconds after the start. The wall clock is set back all the time.
fn at(seconds: Nanos) -> Timestamp {
    Timestamp { wall: WALL - seconds * SECOND, monotonic: seconds * SECOND }
}

fn secret(secret: &str) -> Option<Secret> {
    (secret != "-").then(|| Secret::new(secret.to_owned()))
}

/// A token, written `A1 R1`. `-` stands for none.
fn token(spec: &str) -> StoredToken {
    let (access, refresh) = spec.split_once(' ').unwrap();
    StoredToken { access: secret(access), refresh: secret(refresh), ..StoredToken::default() }
}

fn access(token: Option<&StoredToken>) -> &str {
    token.and_then(|token| token.access.as_ref()).map_or("-", Secret::expose)
}

/// Token 3000 of a sign-in.
fn document(epoch: u64, was: &[u64]) -> Document {
    Document { epoch, was: was.to_vec(), by: 3000, token: Some(token("A3 R3")), ..Document::default() }
}

/// Token 2000 of sign-in 7, and all else that there can be.
fn known() -> Known {
    Known {
        epoch: Some(7),
        was: vec![5, 6],
        by: 2000,
        token: Some(token("A2 R2")),
        unsaved: Some(unsaved(7, 4000)),
        seed: Some(token("- R0")),
        own_claims: vec![own(4000)],
        own_epochs: vec![own_epoch(7), own_epoch(8)],
        set: secret("R2").map(|secret| (secret, 1000)),
        ..Known::default()
    }
}

fn unsaved(epoch: u64, number: u64) -> UnsavedToken {
    UnsavedToken { number, epoch, by: 2000, presented: secret("R2"), token: token("A4 R4") }
}

fn own(number: u64) -> OwnClaim {
    OwnClaim { number, since: at(number as Nanos) }
}

fn own_epoch(epoch: u64) -> OwnEpoch {
    OwnEpoch { epoch, change: None, refresh_token: None }
}

fn claim(number: u64, id: &str) -> Claim {
    let (id, who) = (id.to_owned(), "pod 2".to_owned());
    Claim { number, id, length: 10 * SECOND, at: WALL, who, host: None }
}

#[test]
fn p19_the_sign_in_and_the_token_of_a_record_are_learnt() {
    let mut known = Known { is_gone: true, ..known() };
    known.learn(&document(9, &[7, 8]));
    assert_eq!((known.epoch, known.is_gone, known.by), (Some(9), false, 3000));
    assert_eq!(known.was, [7, 8]);
    assert_eq!(access(known.token.as_ref()), "A3");
    assert!(known.seed.is_none());
    known.learn(&Document { token: None, ..document(9, &[7, 8]) });
    assert!(known.token.is_none());
}

#[test]
fn p19_a_set_refresh_token_is_forgotten_with_its_sign_in() {
    for (epoch, remains) in [(7, true), (9, false)] {
        let mut known = known();
        known.learn(&document(epoch, &[]));
        assert_eq!(known.set.is_some(), remains, "{epoch}");
    }
}

#[test]
fn p19_an_unsaved_token_remains_until_the_record_has_a_later_one() {
    for (epoch, number, remains) in
        [(7, 3001, true), (7, 3000, false), (7, 2999, false), (6, 3001, false), (6, 2999, false)]
    {
        let mut known = Known { unsaved: Some(unsaved(epoch, number)), ..known() };
        known.learn(&document(7, &[]));
        assert_eq!(known.unsaved.is_some(), remains, "{epoch}, {number}");
    }
}

#[test]
fn p19_all_that_belongs_to_a_record_is_forgotten_when_it_is_gone() {
    let mut known = known();
    known.lose();
    assert_eq!((known.epoch, known.is_gone, known.was.len()), (None, true, 0));
    assert!(known.token.is_none() && known.unsaved.is_none() && known.set.is_none());
    assert!(known.own_claims.is_empty());
}

#[test]
fn p19_a_token_without_a_refresh_token_is_a_cache() {
    for (token, expected) in [
        (None, false),
        (Some(token("A1 R1")), false),
        (Some(token("- R1")), false),
        (Some(token("A1 -")), true),
    ] {
        let shown = access(token.as_ref()).to_owned();
        assert_eq!(Known { token, ..Known::default() }.is_cache(), expected, "{shown}");
    }
}

#[test]
fn p19_a_cache_is_refilled_by_a_record_that_nobody_signed_in_to() {
    type Row = (&'static str, fn(&mut Known, &mut Document), bool);
    let rows: &[Row] = &[
        ("another epoch", |_, _| {}, true),
        ("others before it", |_, document| document.was = vec![8], true),
        ("no token", |_, document| document.token = None, true),
        ("the same epoch", |_, document| document.epoch = 7, false),
        ("a later epoch", |_, document| document.was = vec![7], false),
        ("an earlier epoch", |_, document| document.epoch = 5, false),
        ("no record known", |known, _| known.epoch = None, false),
        ("signed out here", |known, _| known.token = None, false),
        ("no cache here", |known, _| known.token = Some(token("A2 R2")), false),
        ("no cache there", |_, document| document.token = Some(token("B1 Q1")), false),
        ("signed out there", |_, document| (document.token, document.signed_out) = (None, true), false),
    ];
    for (name, change, expected) in rows {
        let mut known = Known { token: Some(token("A2 -")), ..known() };
        let mut document = Document { token: Some(token("B1 -")), ..document(9, &[]) };
        change(&mut known, &mut document);
        assert_eq!(known.is_refilled_cache(&document), *expected, "{name}");
    }
}

#[test]
fn p19_earlier_and_own_epochs_are_recognised() {
    let known = known();
    for (epoch, is_earlier, is_own) in
        [(4, false, false), (5, true, false), (7, false, true), (8, false, true)]
    {
        assert_eq!((known.came_after(epoch), known.is_own_epoch(epoch)), (is_earlier, is_own), "{epoch}");
    }
}

#[test]
fn p19_a_token_that_was_not_adopted_counts_as_newer_at_the_next_look() {
    for (by, expected) in [(3000, 2999), (1, 0), (0, 0)] {
        let mut known = Known { by, ..Known::default() };
        known.forget_adoption();
        assert_eq!(known.by, expected);
    }
}

#[test]
fn p19_the_epochs_before_the_next_are_those_known_and_those_of_the_record() {
    let many: Vec<_> = (11..=26).collect();
    for (known, record, expected) in [
        (None, None, vec![]),
        (Some((7, vec![5, 6])), None, vec![5, 6, 7]),
        (None, Some((7, vec![5, 6])), vec![5, 6, 7]),
        (Some((7, vec![5, 6])), Some((7, vec![5, 6])), vec![5, 6, 7]),
        (Some((7, vec![5, 6])), Some((9, vec![6, 8])), vec![5, 6, 7, 8, 9]),
        (Some((27, many.clone())), None, (12..=27).collect()),
        (Some((27, many)), Some((29, vec![28])), (14..=29).collect()),
    ] {
        let shown = format!("{known:?}, {record:?}");
        let document = record.map(|(epoch, was)| document(epoch, &was));
        // What isn't at a sign-in any more doesn't count.
        let (epoch, was) = known.map_or((None, vec![1]), |(epoch, was)| (Some(epoch), was));
        let known = Known { epoch, was, ..Known::default() };
        assert_eq!(known.epochs_before_next(document.as_ref()), expected, "{shown}");
    }
}

#[test]
fn p19_an_own_claim_is_recognised_by_its_number_and_its_id() {
    let known = Known { own_claims: vec![own(4000), own(5000)], ..Known::default() };
    for (number, id, expected) in [
        (4000, "me", Some(4000)),
        (5000, "me", Some(5000)),
        (6000, "me", None),
        (4000, "other", None),
        (6000, "other", None),
    ] {
        let found = known.as_own(&claim(number, id), "me");
        assert_eq!(found.map(|own| own.number), expected, "{number} {id}");
        assert_eq!(
            found.map(|own| own.since.monotonic),
            expected.map(|number| at(number as Nanos).monotonic)
        );
    }
}

#[test]
fn p19_a_claim_is_seen_from_its_first_sight_until_the_store_is_unavailable() {
    /// Each second, a load finds a claim, or none, or fails.
    #[derive(Debug)]
    enum Load {
        Found(u64, &'static str),
        Nothing,
        Failed,
    }
    use Load::{Failed, Found, Nothing};
    for (loads, seen_for, is_unbroken) in [
        (&[][..], 0, false),
        (&[Nothing], 0, false),
        (&[Failed], 0, false),
        (&[Found(1, "a")], 1, true),
        (&[Found(1, "a"), Found(1, "a"), Found(1, "a")], 3, true),
        (&[Found(1, "a"), Found(1, "a"), Found(2, "a")], 1, true),
        (&[Found(1, "a"), Found(1, "a"), Found(1, "b")], 1, true),
        (&[Found(1, "a"), Found(1, "a"), Found(2, "b")], 1, true),
        (&[Found(1, "a"), Nothing], 0, false),
        (&[Found(1, "a"), Nothing, Found(1, "a")], 1, true),
        (&[Found(1, "a"), Failed], 0, false),
        (&[Found(1, "a"), Failed, Found(1, "a"), Found(1, "a")], 2, false),
        (&[Found(1, "a"), Failed, Found(2, "a")], 1, true),
    ] {
        let mut known = Known::default();
        for (second, load) in loads.iter().enumerate() {
            let now = at(second as Nanos);
            match load {
                Found(number, id) => known.sight(Some(&claim(*number, id)), now),
                Nothing => known.sight(None, now),
                Failed => known.lose_sight(),
            }
        }
        let seen = (known.seen_for(at(loads.len() as Nanos)), known.sees_without_break());
        assert_eq!(seen, (seen_for * SECOND, is_unbroken), "{loads:?}");
    }
}

#[test]
fn p19_the_hold_remains_during_a_refresh_and_while_a_token_is_unsaved() {
    for (is_running, is_unsaved, remains) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let unsaved = is_unsaved.then(|| unsaved(7, 3000));
        let hold: Box<dyn Any + Send + Sync> = Box::new("hold");
        let mut known = Known { is_running, unsaved, hold: Some(hold), ..Known::default() };
        let removed = known.remove_unneeded_hold();
        assert_eq!(removed.is_some_and(|hold| hold.is::<&str>()), !remains, "{is_running} {is_unsaved}");
        assert_eq!(known.hold.is_some(), remains, "{is_running} {is_unsaved}");
    }
    assert!(Known::default().remove_unneeded_hold().is_none());
}

#[test]
fn p19_another_refresh_token_than_the_presented_one_is_a_rotation() {
    for (presented, refresh, expected) in
        [("R1", "R2", true), ("R1", "R1", false), ("-", "R1", true), ("-", "-", false)]
    {
        let token = token(&format!("A1 {refresh}"));
        let unsaved = UnsavedToken { presented: secret(presented), token, ..unsaved(7, 3000) };
        assert_eq!(unsaved.is_rotated(), expected, "{presented} {refresh}");
    }
}
