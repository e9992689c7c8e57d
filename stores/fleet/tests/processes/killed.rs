//! A process is killed while it refreshes.

use tower_reauth_fleet::{Command, FailureKind, Moment, Outcome, Point};

use crate::{
    setup::{Phase, Server, Setup, with_lapses},
    stores::{Store, on_each_store},
};

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

/// Kills a process that refreshes. The calls of three others are running.
async fn kill(store: Store, server: Server, phase: Phase) -> Option<Setup> {
    let mut setup = Setup::start(store, server, with_lapses(store, 4), 3).await?;
    assert_eq!(setup.fleet.call().await.ok, 12);
    setup.fleet.server.issuer.expire_access_tokens();
    let mut holder = setup.start_with_short_exchange().await;
    holder.run(Command::Load).await.unwrap();
    let held = setup.refresh_until(&mut holder, phase).await;
    setup.fleet.send(&Command::Call).await;
    if held.is_some() {
        // So that it can't react to the end of its connection.
        holder.suspend();
    }
    drop(held);
    holder.kill().await.unwrap();
    Some(setup)
}

/// In the file store without a lapse, as nobody else has the hold. Elsewhere after one.
async fn others_go_on(store: Store, phase: Phase, seen: Seen) {
    let Some(mut setup) = kill(store, Server::Tolerant, phase).await else { return };
    let outcome = setup.fleet.called().await;
    assert_eq!((outcome.ok, outcome.failed), (12, 0), "{outcome:?}");
    restart(&mut setup).await;
    let outcome = setup.fleet.call().await;
    assert_eq!((outcome.ok, outcome.failed), (16, 0), "{outcome:?}");

    // The process that takes over says that the refresh token may have been presented.
    let may_be_presented = !matches!(seen, Seen::Nothing | Seen::Saved);
    assert_eq!(outcome.repeated, usize::from(may_be_presented));
    let record = setup.record().await;
    assert!(record["claim"].is_null(), "{record}");
    let fleet = &mut setup.fleet;
    let counts = fleet.server.counts();
    assert_eq!((counts.refreshes, counts.refusals, counts.at_once), (1, 0, 1));
    assert_eq!(counts.reuses, usize::from(seen == Seen::Exchanged));
    let presented = if matches!(seen, Seen::Lost | Seen::Exchanged) { 2 } else { 1 };
    assert_eq!(fleet.server.presentations(&setup.first.refresh), presented);

    let outcome = fleet.call_after_expiry().await;
    assert_eq!((outcome.ok, outcome.failed), (16, 0), "{outcome:?}");
    assert_eq!(fleet.server.counts().refreshes, 2);
}

async fn strict_server(store: Store, phase: Phase, seen: Seen) {
    let Some(mut setup) = kill(store, Server::Strict, phase).await else { return };
    let outcome = setup.fleet.called().await;
    restart(&mut setup).await;
    if seen != Seen::Exchanged {
        assert_eq!((outcome.ok, outcome.failed), (12, 0), "{outcome:?}");
        assert_eq!(setup.fleet.call().await.ok, 16);
        let counts = setup.fleet.server.counts();
        assert_eq!((counts.refreshes, counts.refusals), (1, 0));
        return;
    }
    // No store can prevent this. It costs one request, however many processes call, and however often.
    assert_eq!((outcome.ok, outcome.failed), (0, 12), "{outcome:?}");
    for _ in 0..3 {
        let Outcome { ok, failures, .. } = setup.fleet.call().await;
        assert_eq!(ok, 0);
        assert!(failures.iter().all(|failure| failure.kind == FailureKind::GrantEnded), "{failures:?}");
    }
    assert!(!setup.record().await["ended"].is_null());
    let counts = setup.fleet.server.counts();
    assert_eq!((counts.presentations, counts.refreshes, counts.refusals), (2, 1, 1));
}

/// The killed process's replacement.
async fn restart(setup: &mut Setup) {
    let process = setup.fleet.start_one().await.unwrap();
    setup.fleet.processes.push(process);
}

macro_rules! rows {
    ($($name:ident: $phase:expr, $seen:expr;)+) => {
        mod c12_c19_others_go_on {
            use super::*;
            $(
                async fn $name(store: Store) {
                    others_go_on(store, $phase, $seen).await;
                }
                on_each_store! { $name; }
            )+
        }

        mod c12_c19_a_strict_server_is_asked_once {
            use super::*;
            $(
                async fn $name(store: Store) {
                    strict_server(store, $phase, $seen).await;
                }
                on_each_store! { $name; }
            )+
        }
    };
}

rows! {
    claim_written: Phase::At(Point::ClaimWritten), Seen::Claim;
    request_written: Phase::AtServer(Moment::Received), Seen::Lost;
    exchanged: Phase::AtServer(Moment::Exchanged), Seen::Exchanged;
    response_read: Phase::At(Point::ResponseRead), Seen::Exchanged;
    saved: Phase::At(Point::Saved), Seen::Saved;
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_c19_a_claim_that_is_half_written_was_never_made() {
    others_go_on(Store::File, Phase::At(Point::InClaimSwap), Seen::Nothing).await;
    strict_server(Store::File, Phase::At(Point::InClaimSwap), Seen::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_c19_a_token_that_is_half_written_is_lost_and_the_record_whole() {
    others_go_on(Store::File, Phase::At(Point::InSaveSwap), Seen::Exchanged).await;
    strict_server(Store::File, Phase::At(Point::InSaveSwap), Seen::Exchanged).await;
}
