//! The rules, one after the other: each row changes one thing about a record and a process that agree.

mod claims;

use super::*;
use crate::store::document::Ended;

const SECOND: Nanos = 1_000_000_000;
const NOW: Timestamp = Timestamp { wall: 1_700_000_000 * SECOND, monotonic: 500 * SECOND };

/// What a look is given.
struct Case {
    document: Option<Document>,
    known: Known,
    looker: Looker<'static>,
}

/// A case, how it differs from the first one, and what is to be done.
type Row = (&'static str, fn(&mut Case), &'static str);

impl Case {
    /// Record and process have token 3000 of sign-in 7.
    fn new() -> Self {
        let document = Document {
            epoch: 7,
            was: vec![5, 6],
            by: 3000,
            claims: 3500,
            client: Some("app".to_owned()),
            token: Some(token("A3 R3")),
            ..Document::default()
        };
        let known = Known {
            epoch: Some(7),
            was: vec![5, 6],
            by: 3000,
            token: Some(token("A3 R3")),
            ..Known::default()
        };
        let looker = Looker {
            id: "me",
            host: Some("host 1"),
            has_hold: false,
            now: NOW,
            rejected: None,
            ignores_pause: false,
            never_repeats: false,
            exchange_timeout: 10 * SECOND,
            slack: 5 * SECOND,
        };
        Self { document: Some(document), known, looker }
    }

    fn without_record() -> Self {
        Self { document: None, ..Self::new() }
    }

    /// Another process has deleted the record of a cache and made it again.
    fn refilled() -> Self {
        let mut case = Self::new();
        case.known.token = Some(token("A3 -"));
        case.with(1000, "B1 -").record().epoch = 9;
        case.record().was = Vec::new();
        case
    }

    fn record(&mut self) -> &mut Document {
        self.document.as_mut().unwrap()
    }

    fn claim(&mut self) -> &mut Claim {
        self.record().claim.as_mut().unwrap()
    }

    /// The record's token and its number.
    fn with(&mut self, by: u64, spec: &str) -> &mut Self {
        (self.record().by, self.record().token) = (by, Some(token(spec)));
        self
    }
}

fn check(new: fn() -> Case, rows: &[Row]) {
    for (name, change, expected) in rows {
        let mut case = new();
        change(&mut case);
        assert_eq!(shown(look(case.document.as_ref(), &case.known, &case.looker)), *expected, "{name}");
    }
}

/// A token, written `A1 R1 600`. `-` stands for none; the third word is the time until its expiry.
fn token(spec: &str) -> StoredToken {
    let words: Vec<_> = spec.split(' ').collect();
    let secret = |word: &str| (word != "-").then(|| Secret::new(word.to_owned()));
    let expires_at = words.get(2).map(|word| NOW.wall + word.parse::<Nanos>().unwrap() * SECOND);
    StoredToken { access: secret(words[0]), refresh: secret(words[1]), expires_at, ..StoredToken::default() }
}

fn unsaved() -> UnsavedToken {
    UnsavedToken { number: 3000, epoch: 7, by: 2000, presented: None, token: token("A3 R3") }
}

/// A claim of 10 s.
fn claim(id: &str) -> Option<Claim> {
    let (id, who) = (id.to_owned(), "pod 2".to_owned());
    Some(Claim { number: 4000, id, length: 10 * SECOND, at: NOW.wall - 25 * SECOND, who, host: None })
}

fn secret(secret: Option<&Secret>) -> &str {
    secret.map_or("-", Secret::expose)
}

fn time(time: Nanos) -> String {
    if time % SECOND == 0 { format!("{} s", time / SECOND) } else { format!("{time} ns") }
}

fn written(document: &Document) -> String {
    let Document { epoch, was, by, claims, client, token, .. } = document;
    let epoch = if (1..=100).contains(epoch) { epoch.to_string() } else { "new".to_owned() };
    let parts = [
        (document.epoch == 0, "no epoch"),
        (document.signed_out, "signed out"),
        (document.unknown, "unknown"),
        (document.claim.is_some(), "claimed"),
        (document.ended.is_some(), "ended"),
        (document.pause.is_some(), "paused"),
    ];
    let parts: String = parts.iter().filter(|(has, _)| *has).map(|(_, name)| format!(", {name}")).collect();
    let client = client.as_deref().unwrap_or("-");
    let token = token.as_ref().map_or("nothing".to_owned(), held);
    format!("{epoch} after {was:?}, {by} of {claims}, {client}, {token}{parts}")
}

fn held(token: &StoredToken) -> String {
    format!("{} {}", secret(token.access.as_ref()), secret(token.refresh.as_ref()))
}

fn shown(look: Look) -> String {
    match look {
        Look::Write(document) => format!("write {}", written(&document)),
        Look::Save(save) => {
            let UnsavedToken { number, epoch, by, presented, token } = *save;
            format!("save {number} of {epoch} for {by} {}: {}", secret(presented.as_ref()), held(&token))
        }
        Look::Follow => "follow".to_owned(),
        Look::SignedOut => "signed out".to_owned(),
        Look::Adopt => "adopt".to_owned(),
        Look::Ended => "ended".to_owned(),
        Look::GiveUp => "give up".to_owned(),
        Look::Pause(left) => format!("pause {}", time(left)),
        Look::UseOwnClaim(own) => format!("use {}", own.number),
        Look::Wait { lapses_in, holder } => {
            assert_eq!(holder, "pod 2");
            format!("wait {}", time(lapses_in))
        }
        Look::Claim { unknown: false } => "claim".to_owned(),
        Look::Claim { unknown: true } => "repeat".to_owned(),
    }
}

#[test]
fn p19_another_sign_in_is_followed() {
    let rows: &[Row] = &[
        ("the same", |_| {}, "claim"),
        ("another", |c| c.record().epoch = 9, "follow"),
        ("a sign-out", |c| (c.record().epoch, c.record().signed_out) = (9, true), "follow"),
        ("a record after one that is gone", |c| (c.known.epoch, c.known.is_gone) = (None, true), "follow"),
        ("the first", |c| c.known = Known::default(), "adopt"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_record_that_went_back_to_an_earlier_sign_in_is_written_again() {
    fn earlier() -> Case {
        let mut case = Case::new();
        case.record().epoch = 5;
        case.record().was = vec![4];
        case
    }
    let rows: &[Row] = &[
        ("higher claims in the record", |_| {}, "write 7 after [5, 6], 3000 of 3500, app, A3 R3"),
        ("higher number here", |c| c.known.by = 5000, "write 7 after [5, 6], 5000 of 5000, app, A3 R3"),
        (
            "signed out here",
            |c| c.known.token = None,
            "write 7 after [5, 6], 3000 of 3500, app, nothing, signed out",
        ),
        (
            "an earlier sign-out, and a claim",
            |c| (c.record().signed_out, c.record().claim) = (true, claim("other")),
            "write 7 after [5, 6], 3000 of 3500, app, A3 R3",
        ),
    ];
    check(earlier, rows);
}

#[test]
fn p19_a_record_without_a_token_is_filled_unless_it_is_signed_out() {
    fn vacant() -> Case {
        let mut case = Case::new();
        case.record().token = None;
        case.known.seed = Some(token("- R0"));
        case
    }
    let rows: &[Row] = &[
        ("a seed", |_| {}, "write 7 after [5, 6], 3000 of 3500, app, - R0"),
        (
            "more in the record",
            |c| c.record().unknown = true,
            "write 7 after [5, 6], 3000 of 3500, app, - R0, unknown",
        ),
        ("a token is there", |c| c.record().token = Some(token("A3 R3")), "claim"),
        ("signed out", |c| c.record().signed_out = true, "signed out"),
        ("signed out, no epoch", |c| (c.record().signed_out, c.known.epoch) = (true, None), "signed out"),
        ("no seed", |c| c.known.seed = None, "claim"),
        ("refused", |c| (c.known.seed, c.known.refused) = (None, Some((7, 3000))), "signed out"),
        ("another number refused", |c| (c.known.seed, c.known.refused) = (None, Some((7, 2000))), "claim"),
        ("another sign-in refused", |c| (c.known.seed, c.known.refused) = (None, Some((6, 3000))), "claim"),
        ("refused before", |c| c.with(3000, "A3 R3").known.refused = Some((7, 3000)), "claim"),
    ];
    check(vacant, rows);
}

#[test]
fn p19_a_newer_token_is_adopted_if_it_can_be_used() {
    let rows: &[Row] = &[
        ("newer", |c| _ = c.with(4000, "A4 R4"), "adopt"),
        ("the same number", |c| _ = c.with(3000, "A4 R4"), "claim"),
        ("number 0, nothing known", |c| c.with(0, "A0 R0").known = Known::default(), "adopt"),
        ("not expired", |c| _ = c.with(4000, "A4 R4 1"), "adopt"),
        ("expired", |c| _ = c.with(4000, "A4 R4 0"), "claim"),
        ("rejected", |c| c.with(4000, "A4 R4").looker.rejected = Some("A4"), "claim"),
        ("an older one rejected", |c| c.with(4000, "A4 R4").looker.rejected = Some("A3"), "adopt"),
        ("no access token", |c| _ = c.with(4000, "- R4"), "claim"),
        ("no access token, one rejected", |c| c.with(4000, "- R4").looker.rejected = Some("A3"), "claim"),
        ("no header can carry it", |c| _ = c.with(4000, "A\n4 R4"), "claim"),
        ("an ended grant", |c| c.with(4000, "A4 R4").record().ended = ended(4000), "adopt"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_cache_that_was_refilled_is_no_other_sign_in() {
    let rows: &[Row] = &[
        ("a lower number", |_| {}, "adopt"),
        ("an expired token", |c| c.record().token = Some(token("B1 - 0")), "claim"),
        ("a refresh token", |c| c.record().token = Some(token("B1 Q1")), "follow"),
    ];
    check(Case::refilled, rows);
}

#[test]
fn p19_a_token_that_the_store_has_lost_is_saved() {
    let rows: &[Row] = &[
        ("lost", |c| _ = c.with(2000, "A2 R2"), "save 3000 of 7 for 2000 R2: A3 R3"),
        (
            "never saved",
            |c| c.with(2000, "A2 R2").known.unsaved = Some(unsaved()),
            "save 3000 of 7 for 2000 R2: A3 R3",
        ),
        ("no refresh token", |c| _ = c.with(2000, "A2 -"), "save 3000 of 7 for 2000 -: A3 R3"),
        ("nothing to save", |c| c.with(2000, "A2 R2").known.token = None, "claim"),
        ("not of this sign-in", |c| c.with(2000, "A2 R2 0").known.epoch = None, "claim"),
    ];
    check(Case::new, rows);
}

fn ended(by: u64) -> Option<Ended> {
    Some(Ended { by, code: "invalid_grant".to_owned() })
}

#[test]
fn p19_the_end_of_a_grant_counts_for_its_token() {
    let rows: &[Row] = &[
        ("of this token", |c| c.record().ended = ended(3000), "ended"),
        ("of an earlier one", |c| c.record().ended = ended(2000), "claim"),
        ("and a claim", |c| (c.record().ended, c.record().claim) = (ended(3000), claim("other")), "ended"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_pause_of_up_to_an_hour_is_kept() {
    let rows: &[Row] = &[
        ("earlier", |c| c.record().pause = Some(NOW.wall - 1), "claim"),
        ("until now", |c| c.record().pause = Some(NOW.wall), "claim"),
        ("longer", |c| c.record().pause = Some(NOW.wall + 1), "pause 1 ns"),
        ("the longest", |c| c.record().pause = Some(NOW.wall + 3600 * SECOND), "pause 3600 s"),
        ("too long", |c| c.record().pause = Some(NOW.wall + 3600 * SECOND + 1), "claim"),
        ("ignored", |c| (c.record().pause, c.looker.ignores_pause) = (Some(NOW.wall + 1), true), "claim"),
        (
            "and a claim",
            |c| (c.record().pause, c.record().claim) = (Some(NOW.wall + 1), claim("other")),
            "pause 1 ns",
        ),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_missing_record_is_a_sign_out_if_there_was_one() {
    let rows: &[Row] = &[
        ("there was", |_| {}, "follow"),
        ("there was, and a seed", |c| c.known.seed = Some(token("- R0")), "follow"),
        ("a cache", |c| c.known.token = Some(token("A3 -")), "claim"),
        ("gone before", |c| (c.known.epoch, c.known.is_gone) = (None, true), "signed out"),
        ("never seen", |c| c.known = Known::default(), "claim"),
        ("a seed", |c| c.known = seeded(false), "write new after [], 0 of 0, -, - R0"),
        ("a seed, gone before", |c| c.known = seeded(true), "signed out"),
    ];
    check(Case::without_record, rows);
}

fn seeded(is_gone: bool) -> Known {
    Known { seed: Some(token("- R0")), is_gone, ..Known::default() }
}

#[test]
fn p19_numbers_of_claims_are_a_step_apart() {
    assert_eq!(step(), 1000);
}

#[test]
fn p19_epochs_are_random() {
    let epochs: Vec<_> = (0..64).map(|_| new_epoch(None)).collect();
    assert!(epochs.iter().all(|epoch| (1..=1 << 48).contains(epoch)), "{epochs:?}");
    assert!(epochs.iter().any(|epoch| *epoch > 1 << 32), "{epochs:?}");
    assert_ne!(new_epoch(None), epochs[0]);
    assert_ne!(new_epoch(Some(1)), 2);
}
