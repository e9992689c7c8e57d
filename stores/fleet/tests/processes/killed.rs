//! A process is killed while it refreshes.

use tower_reauth_fleet::{Command, FailureKind, Moment, Outcome, Point};

use crate::setup::{Server, Setup, with_file};

/// Where the process is killed.
#[derive(Clone, Copy, Debug)]
enum Killed {
    At(Point),
    /// While the server has its request.
    AtServer(Moment),
}

/// What the server has seen by then of the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Nothing, but the record has a claim.
    Claim,
    /// A request that it never handled.
    Lost,
    /// It was exchanged, and the successor died with the process.
    Exchanged,
    /// It was exchanged, and the successor is in the record.
    Saved,
}

/// Kills the process that refreshes, when three processes find the token expired. The others' calls are running.
async fn kill(server: Server, killed: Killed) -> Setup {
    let mut setup = Setup::start(server, with_file(4), 3).await;
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.call().await.ok, 12);
    fleet.expire();
    match killed {
        Killed::At(point) => {
            // Only this one refreshes, until the others call.
            fleet.server.gather_rejections(0);
            let mut holder = fleet.processes.remove(1);
            holder.send(&Command::StopAt(point)).await;
            holder.send(&Command::Call).await;
            holder.stopped_at(point).await;
            fleet.send(&Command::Call).await;
            holder.kill().await.unwrap();
        }
        Killed::AtServer(moment) => {
            let held = fleet.server.hold_next(moment);
            fleet.send(&Command::Call).await;
            fleet.kill(held.await).await.unwrap();
        }
    }
    setup
}

/// The killed process's replacement.
async fn restart(setup: &mut Setup) {
    let process = setup.fleet.start_one().await.unwrap();
    setup.fleet.processes.push(process);
}

async fn others_go_on(killed: Killed, seen: Seen) {
    let mut setup = kill(Server::Tolerant, killed).await;
    let outcome = setup.fleet.called().await;
    assert_eq!((outcome.ok, outcome.failed), (8, 0), "{outcome:?}");
    restart(&mut setup).await;
    let outcome = setup.fleet.call().await;
    assert_eq!((outcome.ok, outcome.failed), (12, 0), "{outcome:?}");

    // Whoever takes over says that the refresh token may have been presented.
    let may_be_presented = !matches!(seen, Seen::Nothing | Seen::Saved);
    assert_eq!(outcome.repeated, usize::from(may_be_presented));
    let record = setup.record();
    assert!(record["claim"].is_null(), "{record}");
    let fleet = &mut setup.fleet;
    let counts = fleet.server.counts();
    assert_eq!((counts.rotations, counts.refusals, counts.at_once), (1, 0, 1));
    assert_eq!(counts.repeats, usize::from(seen == Seen::Exchanged));
    let presented = if matches!(seen, Seen::Lost | Seen::Exchanged) { 2 } else { 1 };
    assert_eq!(fleet.server.presentations(&setup.first.refresh), presented);

    let outcome = fleet.call_after_expiry().await;
    assert_eq!((outcome.ok, outcome.failed), (12, 0), "{outcome:?}");
    assert_eq!(fleet.server.counts().rotations, 2);
}

async fn strict_server(killed: Killed, seen: Seen) {
    let mut setup = kill(Server::Strict, killed).await;
    let outcome = setup.fleet.called().await;
    restart(&mut setup).await;
    if seen != Seen::Exchanged {
        assert_eq!((outcome.ok, outcome.failed), (8, 0), "{outcome:?}");
        assert_eq!(setup.fleet.call().await.ok, 12);
        let counts = setup.fleet.server.counts();
        assert_eq!((counts.rotations, counts.refusals), (1, 0));
        return;
    }
    // No store can prevent this. It costs one request, whoever asks and however often.
    assert_eq!((outcome.ok, outcome.failed), (0, 8), "{outcome:?}");
    for _ in 0..3 {
        let Outcome { ok, failures, .. } = setup.fleet.call().await;
        assert_eq!(ok, 0);
        assert!(failures.iter().all(|failure| failure.kind == FailureKind::GrantEnded), "{failures:?}");
    }
    assert!(!setup.record()["ended"].is_null());
    let counts = setup.fleet.server.counts();
    assert_eq!((counts.presentations, counts.rotations, counts.refusals), (2, 1, 1));
}

macro_rules! rows {
    ($($name:ident: $killed:expr, $seen:expr;)+) => {
        mod c12_c19_others_go_on_without_a_lapse {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    others_go_on($killed, $seen).await;
                }
            )+
        }

        mod c12_c19_a_strict_server_is_asked_once {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    strict_server($killed, $seen).await;
                }
            )+
        }
    };
}

rows! {
    in_claim_swap: Killed::At(Point::InClaimSwap), Seen::Nothing;
    claim_written: Killed::At(Point::ClaimWritten), Seen::Claim;
    request_written: Killed::AtServer(Moment::Received), Seen::Lost;
    exchanged: Killed::AtServer(Moment::Exchanged), Seen::Exchanged;
    response_read: Killed::At(Point::ResponseRead), Seen::Exchanged;
    in_save_swap: Killed::At(Point::InSaveSwap), Seen::Exchanged;
    saved: Killed::At(Point::Saved), Seen::Saved;
}
