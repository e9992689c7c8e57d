//! The rules for claims.

use super::*;

impl Case {
    /// A claim of this process, with the token's number, and how long ago it was written by the two clocks.
    fn own(&mut self, by: u64, wall: Nanos, monotonic: Nanos) -> &mut Self {
        self.record().claim = claim("me");
        (self.record().by, self.known.by) = (by, by);
        let since = Timestamp { wall: NOW.wall - wall, monotonic: NOW.monotonic - monotonic };
        self.known.own_claims = vec![OwnClaim { number: 4000, since }];
        self
    }

    /// Another process's claim, which has been seen for so long.
    fn seen(&mut self, length: Nanos) -> &mut Self {
        self.record().claim = claim("other");
        let since = Timestamp { wall: 0, monotonic: NOW.monotonic - length };
        self.known.sight(self.document.as_ref().unwrap().claim.as_ref(), since);
        self
    }

    /// The same, in a store that has a clock. By that, the claim is so old.
    fn dated(&mut self, length: Nanos, age: Nanos) -> &mut Self {
        self.seen(length).known.store_has_clock = true;
        self.claim().at = NOW.wall - age;
        self
    }

    /// The same, while this process has the hold.
    fn with_hold(&mut self, host: Option<&str>) -> &mut Self {
        self.seen(3 * SECOND).looker.has_hold = true;
        self.claim().host = host.map(str::to_owned);
        self
    }
}

#[test]
fn p19_an_own_claim_is_used_in_the_first_half_of_the_exchange_timeout() {
    let rows: &[Row] = &[
        ("new", |c| _ = c.own(3000, 0, 0), "use 4000"),
        ("half", |c| _ = c.own(3000, 5 * SECOND, 5 * SECOND), "use 4000"),
        ("later by the wall clock", |c| _ = c.own(3000, 5 * SECOND + 1, 0), "claim"),
        ("later by the other clock", |c| _ = c.own(3000, 0, 5 * SECOND + 1), "claim"),
        ("of the record's token", |c| _ = c.own(4000, 0, 0), "claim"),
        ("before the record's token", |c| _ = c.own(5000, 0, 0), "claim"),
        ("later, outcome unknown before", |c| c.own(3000, 6 * SECOND, 0).record().unknown = true, "repeat"),
        ("not known as own", |c| c.own(3000, 0, 0).known.own_claims.clear(), "wait 15 s"),
        ("another's with its number", |c| c.own(3000, 0, 0).claim().id = "other".to_owned(), "wait 15 s"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_another_claim_lapses_when_it_was_seen_for_long_enough() {
    let rows: &[Row] = &[
        ("not seen before", |c| c.record().claim = claim("other"), "wait 15 s"),
        ("for 3 s", |c| _ = c.seen(3 * SECOND), "wait 12 s"),
        ("almost", |c| _ = c.seen(15 * SECOND - 1), "wait 1 ns"),
        ("just", |c| _ = c.seen(15 * SECOND), "repeat"),
        ("longer", |c| _ = c.seen(15 * SECOND + 1), "repeat"),
        ("too short a claim", |c| c.seen(0).claim().length = 0, "wait 6 s"),
        ("the shortest", |c| c.seen(0).claim().length = SECOND, "wait 6 s"),
        ("the longest", |c| c.seen(0).claim().length = 15 * SECOND, "wait 20 s"),
        ("too long a claim", |c| c.seen(0).claim().length = 60 * SECOND, "wait 20 s"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_another_claim_lapses_by_the_clock_of_the_store_after_twice_its_time() {
    fn seen_again(case: &mut Case) {
        case.dated(20 * SECOND, 40 * SECOND).known.lose_sight();
        case.seen(3 * SECOND);
    }
    let rows: &[Row] = &[
        ("earlier", |c| _ = c.dated(3 * SECOND, 25 * SECOND), "wait 5 s"),
        ("just", |c| _ = c.dated(3 * SECOND, 30 * SECOND), "repeat"),
        ("later", |c| _ = c.dated(3 * SECOND, SECOND), "wait 12 s"),
        ("a clock that was set back", |c| _ = c.dated(3 * SECOND, -SECOND), "wait 12 s"),
        ("no clock", |c| c.dated(3 * SECOND, 40 * SECOND).known.store_has_clock = false, "wait 12 s"),
        ("the store was unavailable", seen_again, "wait 12 s"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_the_owner_of_the_hold_replaces_claims_of_its_boot() {
    let rows: &[Row] = &[
        ("the same", |c| _ = c.with_hold(Some("host 1")), "repeat"),
        ("another", |c| _ = c.with_hold(Some("host 2")), "wait 12 s"),
        ("unknown", |c| _ = c.with_hold(None), "wait 12 s"),
        ("both unknown", |c| c.with_hold(None).looker.host = None, "wait 12 s"),
        ("no hold", |c| c.with_hold(Some("host 1")).looker.has_hold = false, "wait 12 s"),
    ];
    check(Case::new, rows);
}

#[test]
fn p19_a_lapsed_claim_above_the_token_means_that_the_outcome_is_unknown() {
    fn lapsed() -> Case {
        let mut case = Case::new();
        case.seen(20 * SECOND);
        case
    }
    let rows: &[Row] = &[
        ("above", |_| {}, "repeat"),
        ("the token's number", |c| c.claim().number = 3000, "claim"),
        ("below", |c| c.claim().number = 2000, "claim"),
        ("unknown before", |c| (c.record().unknown, c.record().claim) = (true, None), "repeat"),
        ("no refresh token", |c| _ = c.with(3000, "A3 -"), "claim"),
        ("no token", |c| c.record().token = None, "claim"),
        ("unknown, no refresh token", |c| c.with(3000, "A3 -").record().unknown = true, "claim"),
        ("no repeats", |c| c.looker.never_repeats = true, "give up"),
        (
            "no repeats, nothing to repeat",
            |c| (c.looker.never_repeats, c.record().claim) = (true, None),
            "claim",
        ),
    ];
    check(lapsed, rows);
}
