//! Which sessions can be ended because they can be loaded again.

use super::{
    super::*,
    tables::{LIMITS, signed_in},
};

#[test]
fn p20_a_session_is_retired_only_if_nothing_is_lost() {
    let can_be = ["fresh", "stale", "rejected", "expired", "empty", "backoff", "batch failed", "ended"];
    let can_not_be =
        ["outcome unknown", "on trial", "ineffective", "unsaved", "flight", "flight with a response"];
    let expected =
        can_be.map(|state| (state, true)).into_iter().chain(can_not_be.map(|state| (state, false)));
    for (state, can_be_retired) in expected {
        let (mut tester, _) = signed_in(state);
        assert_eq!(tester.machine.try_retire(), can_be_retired, "{state}");
        if can_be_retired {
            // A weak reference can still be upgraded, but starts nothing.
            let demanded = tester.step(|turn| turn.demand(Demand::Requested, &LIMITS, true));
            let error = demanded.unwrap_err();
            assert!(error.is_shut_down() || error.is_grant_ended(), "{state}: {error}");
        }
    }
}

#[test]
fn p20_a_saved_session_is_retired_whatever_has_changed() {
    let (mut tester, _) = signed_in("on trial");
    tester.machine.persistence = Persistence::Hook;
    assert!(tester.machine.try_retire());
}
