//! Orders of events that the table of scenarios can't express.

use super::{
    super::*,
    tables::{self, LIMITS, SECOND, Tester, token},
};
use crate::{event::EventKind, refresh::RefreshError};

fn new_call(tester: &mut Tester) -> Result<Decision, Error> {
    tester.step(|turn| turn.demand(Demand::New, &LIMITS, true))
}

/// Sets a token, and returns its save.
fn set(tester: &mut Tester, spec: &str) -> SaveOrder {
    tester.step(|turn| turn.set(token(spec))).unwrap();
    *tester.effects.save.take().expect("a save begins")
}

#[test]
fn p10_a_stale_token_of_a_new_sign_in_does_not_hide_the_flight_that_is_in_its_way() {
    let mut tester = Tester::new();
    tester.start();
    let stale = Token::builder("B1").refresh_token("Q1").refresh_in(std::time::Duration::ZERO);
    tester.step(|turn| turn.sign_in(stale.build().unwrap()));
    assert!(tester.machine.snapshot(tester.now).is_none(), "the next call has to start a refresh");
    assert!(matches!(new_call(&mut tester), Ok(Decision::Use(_))));
    assert!(tester.effects.start.is_some());
    assert!(tester.machine.snapshot(tester.now).is_some());
}

/// The machine's deadline comes a little before the hook's own timer.
#[test]
fn p17_the_end_of_a_save_that_was_given_up_skips_no_delay() {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Hook;
    let hung = set(&mut tester, "A2 R2 -");
    tester.pass(10_000);
    new_call(&mut tester).unwrap();
    assert!(tester.machine.is_unsaved() && tester.effects.save.is_none());
    tester.step(|turn| turn.save_ended(hung.id, Err(HookError::TIMED_OUT)));
    assert!(tester.effects.save.is_none(), "saved again without the delay");
    tester.pass(4999);
    new_call(&mut tester).unwrap();
    assert!(tester.effects.save.is_none());
    tester.pass(1);
    new_call(&mut tester).unwrap();
    assert!(tester.effects.save.is_some());
}

#[test]
fn p09_a_late_response_wakes_those_who_wait_for_a_backoff() {
    let mut tester = Tester::new();
    Arc::make_mut(&mut tester.machine.rules).wait_through_backoff = true;
    tester.pass(580);
    let abandoned = tester.start();
    tester.pass(10_000);
    let repeat = tester.start();
    tester.land(&repeat, tables::failed(RefreshError::transient("503")));
    let limits = WaitLimits { timeout: 6000 * SECOND, ..LIMITS };
    let decision = tester.step(|turn| turn.demand(Demand::New, &limits, true));
    let Ok(Decision::Wait(wait)) = decision else { panic!("{decision:?}") };
    assert!(matches!(wait.stage, WaitStage::Backoff(_)));
    tester.step(|turn| turn.respond(&abandoned, token("A2 R2 600")));
    assert_eq!(tester.holds(), "A2 R2");
    let (flight, outcome) = tester.effects.ended.pop().expect("the wait is over");
    assert_eq!(flight, wait.flight);
    assert_eq!(outcome.resume(&wait).unwrap().unwrap().secret(), "A2");
}

#[test]
fn p17_a_sign_out_is_saved_though_a_flight_of_the_earlier_sign_in_waits_to_save_its_response() {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Hook;
    let info = tester.start();
    let running = set(&mut tester, "A9 - 600");
    tester.step(|turn| turn.respond(&info, token("A2 R2 600")));
    // Nobody drives its runtime from here on.
    assert!(matches!(tester.step(|turn| turn.save_before_landing(&info)), Saving::After));
    drop(tester.step(|turn| turn.sign_out()));
    assert!(tester.effects.save.is_none());
    tester.step(|turn| turn.save_ended(running.id, Ok(())));
    let erase = tester.effects.save.take().expect("the store still has the token");
    assert!(erase.token.is_none());
}

#[test]
fn p17_a_failed_save_is_retried_though_nobody_drives_a_flight() {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Hook;
    tester.start();
    let save = set(&mut tester, "A9 - -");
    tester.step(|turn| turn.save_ended(save.id, Err(HookError::TIMED_OUT)));
    tester.pass(9_999);
    new_call(&mut tester).unwrap();
    assert!(tester.effects.save.is_none());
    tester.pass(1);
    assert!(tester.machine.snapshot(tester.now).is_none(), "the next call has to save it");
    new_call(&mut tester).unwrap();
    assert!(tester.effects.save.is_some());
}

#[test]
fn p05_a_minimum_lifetime_renews_a_lease_at_most_once_per_trial() {
    let mut tester = Tester::signed_out(false);
    tester.machine.start_with(token("A1 R1 60"), tester.now);
    let limits = WaitLimits { min_lifetime: 50 * SECOND, ..LIMITS };
    tester.pass(10);
    tester.step(|turn| turn.demand(Demand::New, &limits, true)).unwrap();
    let info = tester.effects.start.take().expect("44 s are left").0;
    tester.land(&info, tables::response("A1 R1 60"));
    // 49 s are left, but it has just been renewed. The trial is 6 s.
    tester.pass(5);
    let decision = tester.step(|turn| turn.demand(Demand::New, &limits, true));
    assert!(matches!(decision, Ok(Decision::Use(_))) && tester.effects.start.is_none());
    tester.pass(1);
    tester.step(|turn| turn.demand(Demand::New, &limits, true)).unwrap();
    assert!(tester.effects.start.is_some());
}

#[test]
fn p05_a_renewal_with_a_longer_lifetime_extends_no_trial() {
    let mut tester = Tester::new();
    tester.refresh(tables::response("A2 R2 10"));
    tester.pass(5);
    // The trial of A2, 1 s, is over.
    tester.refresh(tables::response("A2 R2 600"));
    tester.pass(10);
    tester.reject();
    assert_eq!(tester.machine.status(tester.now, 0).consecutive_failures(), 0);
    let decision = new_call(&mut tester);
    assert!(matches!(decision, Ok(Decision::Wait(_))), "the last refresh was good: {decision:?}");
}

#[test]
fn p17_a_response_that_waits_for_another_save_is_saved_though_nobody_drives_its_flight() {
    for result in [Ok(()), Err(HookError::TIMED_OUT)] {
        let mut tester = Tester::new();
        tester.machine.persistence = Persistence::Hook;
        let info = tester.start();
        let running = set(&mut tester, "A9 - 600");
        tester.step(|turn| turn.respond(&info, token("A2 R2 600")));
        assert!(matches!(tester.step(|turn| turn.save_before_landing(&info)), Saving::After));
        tester.step(|turn| turn.save_ended(running.id, result));
        let save = tester.effects.save.take().expect("R2 is the only valid refresh token");
        let saved = save.token.expect("a token");
        assert_eq!((saved.access_token(), saved.refresh_token()), ("A9", Some("R2")));
    }
}

/// The flight saves it, with its own refresh token.
#[test]
fn p17_a_change_after_a_response_is_not_saved_before_it() {
    let mut tester = Tester::new();
    tester.machine.persistence = Persistence::Hook;
    let flight = tester.start();
    tester.step(|turn| turn.respond(&flight, token("A2 R2 600")));
    tester.step(|turn| turn.set(token("A9 - 600"))).unwrap();
    assert!(tester.effects.save.is_none());
    let Saving::Now(order) = tester.step(|turn| turn.save_before_landing(&flight)) else {
        panic!("the response is to be saved");
    };
    let saved = order.token.unwrap();
    assert_eq!((saved.access_token(), saved.refresh_token()), ("A9", Some("R2")));
}

/// The flight is past its timeout, and the save isn't.
#[test]
fn p17_an_abandoned_flight_gives_up_its_own_save_only() {
    for (sets, fails) in [(false, true), (true, false)] {
        let mut tester = Tester::new();
        tester.machine.persistence = Persistence::Hook;
        let flight = tester.start();
        tester.pass(5000);
        if sets {
            set(&mut tester, "A9 - 600");
        }
        tester.step(|turn| turn.respond(&flight, token("A2 R2 100000")));
        tester.step(|turn| turn.save_before_landing(&flight));
        tester.pass(5001);
        tester.step(|turn| turn.demand(Demand::Requested, &LIMITS, true)).unwrap();
        let failed =
            tester.effects.events.iter().any(|event| matches!(event.kind, EventKind::SaveFailed { .. }));
        assert_eq!(failed, fails, "{sets}");
        assert!(!tester.machine.flights.is_current(&flight));
    }
}

#[test]
fn p06_a_stale_token_without_a_successor_is_read_without_the_lock_until_it_expires() {
    for state in ["ended", "shut down"] {
        let mut tester = Tester::new();
        match state {
            "ended" => tester.refresh(tables::failed(RefreshError::grant_ended("invalid_grant"))),
            _ => tester.step(|turn| turn.shut_down()),
        }
        tester.pass(550);
        let snapshot = tester.machine.snapshot(tester.now).expect(state);
        assert!(snapshot.stale, "{state}");
        assert_eq!(snapshot.valid_until.monotonic, tester.now.monotonic + 20 * SECOND, "{state}");
    }
}
