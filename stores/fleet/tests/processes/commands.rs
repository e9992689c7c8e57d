//! Processes that live for one call, one after the other.

use tower_reauth_fleet::{Command, Point};

use crate::setup::{Server, Setup, with_file};

/// Every third command finds the token expired; some of these are killed on the way.
#[tokio::test(flavor = "multi_thread")]
async fn c13_short_commands_keep_the_grant_alive() {
    let mut setup = Setup::start(Server::Tolerant, with_file(1), 1).await;
    let mut signed_in = setup.fleet.processes.pop().unwrap();
    signed_in.run(Command::Shutdown).await.unwrap();
    assert!(signed_in.exit().await.unwrap().success());

    let points = [Point::ClaimWritten, Point::ResponseRead, Point::InSaveSwap, Point::Saved];
    let mut points = points.into_iter().cycle();
    let (mut rotations, mut repeats) = (0, 0);
    for number in 0..100 {
        let expires = number % 3 == 0;
        let is_killed = number % 9 == 0;
        if expires {
            setup.fleet.server.expire();
        }
        let mut command = setup.fleet.start_one().await.unwrap();
        if is_killed {
            let point = points.next().unwrap();
            command.send(&Command::StopAt(point)).await;
            command.send(&Command::Call).await;
            command.stopped_at(point).await;
            command.kill().await.unwrap();
            let next = setup.fleet.start_one().await.unwrap();
            repeats += usize::from(matches!(point, Point::ResponseRead | Point::InSaveSwap));
            command = next;
        }
        rotations += usize::from(expires);
        let outcome = command.call().await;
        assert_eq!(outcome.ok, 1, "command {number}: {outcome:?}");
        command.run(Command::Shutdown).await.unwrap();
        assert!(command.exit().await.unwrap().success());

        let counts = setup.fleet.server.counts();
        assert_eq!((counts.rotations, counts.repeats, counts.refusals), (rotations, repeats, 0), "{number}");
        assert!(setup.record()["claim"].is_null());
    }
    assert!(setup.fleet.server.is_signed_in());
}
