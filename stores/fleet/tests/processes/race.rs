//! Many processes find the token expired at once.

use tower_reauth_fleet::{Counts, Fleet, Policy, Settings, TokenServer};

use crate::{
    setup::{Server, Setup, this_program, with_callers},
    stores::{Store, on_each_store},
};

on_each_store! {
    p19_each_expiry_is_one_exchange;
    p19_c23_two_processes_at_once_present_a_token_once;
}

async fn p19_each_expiry_is_one_exchange(store: Store) {
    const EXPIRIES: usize = 200;
    const CALLS: usize = 20 * 50;
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(50), 20).await else { return };
    for expiry in 1..=EXPIRIES {
        let outcome = setup.fleet.call_after_expiry().await;
        assert_eq!((outcome.ok, outcome.failed), (CALLS, 0), "expiry {expiry}: {outcome:?}");
        let counts = setup.fleet.server.counts();
        let once = Counts {
            presentations: expiry,
            at_once: 1,
            rotations: expiry,
            repeats: 0,
            refusals: 0,
            revocations: 0,
        };
        assert_eq!(counts, once);
    }
    assert!(setup.fleet.server.is_signed_in());
}

async fn p19_c23_two_processes_at_once_present_a_token_once(store: Store) {
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(1), 2).await else { return };
    for expiry in 1..=200 {
        let outcome = setup.fleet.call_after_expiry().await;
        assert_eq!((outcome.ok, outcome.failed), (2, 0), "expiry {expiry}: {outcome:?}");
        let counts = setup.fleet.server.counts();
        assert_eq!((counts.presentations, counts.at_once, counts.refusals), (expiry, 1, 0));
    }
    assert!(setup.fleet.server.is_signed_in());
}

/// Otherwise the tests above would show nothing.
#[tokio::test(flavor = "multi_thread")]
async fn p19_without_a_store_the_grant_is_lost() {
    let server = TokenServer::start(Policy::Revoke, None).await.unwrap();
    let alone = Settings { callers: 10, ..Settings::default() };
    let (mut fleet, _) = Fleet::start(this_program(), server, alone, 20).await.unwrap();
    fleet.server.gather_presentations(20);
    let outcome = fleet.call_after_expiry().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 200), "{outcome:?}");
    let counts = fleet.server.counts();
    assert_eq!((counts.rotations, counts.at_once), (1, 20));
    assert!(counts.refusals >= 19, "{counts:?}");
    assert!(!fleet.server.is_signed_in());
}
