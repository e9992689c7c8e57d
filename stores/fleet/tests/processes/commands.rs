//! Processes that live for one call, one after the other.

use tower_reauth_fleet::{Command, Point};

use crate::{
    setup::{Phase, Server, Setup, with_lapses},
    stores::{Store, on_each_store},
};

on_each_store! {
    c13_short_commands_keep_the_grant_alive;
}

/// Every third command finds the token expired; some of these are killed on the way.
async fn c13_short_commands_keep_the_grant_alive(store: Store) {
    let Some(mut setup) = Setup::start(store, Server::Tolerant, with_lapses(store, 1), 1).await else {
        return;
    };
    let mut signed_in = setup.fleet.processes.pop().unwrap();
    signed_in.run(Command::Shutdown).await.unwrap();
    assert!(signed_in.exit().await.unwrap().success());

    let mut points = vec![Point::ClaimWritten, Point::ResponseRead, Point::Saved];
    if store == Store::File {
        points.push(Point::InSaveSwap);
    }
    let mut points = points.into_iter().cycle();
    let (mut refreshes, mut reuses) = (0, 0);
    for number in 0..100 {
        let expires = number % 3 == 0;
        let is_killed = number % 9 == 0;
        if expires {
            setup.fleet.server.issuer.expire_access_tokens();
        }
        if is_killed {
            let point = points.next().unwrap();
            let mut killed = setup.start_with_short_exchange().await;
            setup.refresh_until(&mut killed, Phase::At(point)).await;
            killed.kill().await.unwrap();
            reuses += usize::from(matches!(point, Point::ResponseRead | Point::InSaveSwap));
        }
        let mut command = setup.fleet.start_one().await.unwrap();
        refreshes += usize::from(expires);
        let outcome = command.call().await;
        assert_eq!(outcome.ok, 1, "command {number}: {outcome:?}");
        command.run(Command::Shutdown).await.unwrap();
        assert!(command.exit().await.unwrap().success());

        let counts = setup.fleet.server.counts();
        assert_eq!((counts.refreshes, counts.reuses, counts.refusals), (refreshes, reuses, 0), "{number}");
        assert!(setup.record().await["claim"].is_null());
    }
    assert!(setup.fleet.server.issuer.family_is_alive());
}
