//! Many processes find the token expired at once.

use tower_reauth_fleet::{Counts, Settings};

use crate::setup::{Server, Setup, with_file};

#[tokio::test(flavor = "multi_thread")]
async fn p19_each_expiry_is_one_exchange() {
    const EXPIRIES: usize = 30;
    let mut setup = Setup::start(Server::Strict, with_file(10), 20).await;
    for expiry in 1..=EXPIRIES {
        let outcome = setup.fleet.call_after_expiry().await;
        assert_eq!((outcome.ok, outcome.failed), (200, 0), "expiry {expiry}: {outcome:?}");
        let counts = setup.fleet.server.counts();
        let once = Counts { presentations: expiry, at_once: 1, rotations: expiry, repeats: 0, refusals: 0 };
        assert_eq!(counts, once);
    }
    assert!(setup.fleet.server.is_signed_in());
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_c23_two_processes_at_once_present_a_token_once() {
    let mut setup = Setup::start(Server::Strict, with_file(1), 2).await;
    for expiry in 1..=100 {
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
    let alone = Settings { callers: 10, ..Settings::default() };
    let mut setup = Setup::start(Server::Strict, alone, 20).await;
    setup.fleet.server.gather_presentations(20);
    let outcome = setup.fleet.call_after_expiry().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 200), "{outcome:?}");
    let counts = setup.fleet.server.counts();
    assert_eq!((counts.rotations, counts.at_once), (1, 20));
    assert!(counts.refusals >= 19, "{counts:?}");
    assert!(!setup.fleet.server.is_signed_in());
}
