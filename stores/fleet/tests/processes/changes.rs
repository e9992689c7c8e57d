//! One process signs in or out, or sets a token, while another one refreshes.

use tower_reauth_fleet::{Command, Credential, FailureKind, Held, Moment, Outcome, Point, Reply, Report};

use crate::{
    setup::{Phase, Server, Setup, with_callers},
    stores::{Store, on_each_store},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    SignIn,
    SignOut,
    /// With another refresh token.
    SetToken,
    /// With the refresh token of the record.
    SetAccessToken,
}

/// A process that is in the middle of a refresh, with another one beside it.
struct Refreshing {
    index: usize,
    held: Option<Held>,
    /// The results of the other one, if it has any already.
    other: Option<Outcome>,
}

/// Two processes find their token expired. One of them refreshes, up to this phase.
async fn refresh_until(setup: &mut Setup, phase: Phase) -> Refreshing {
    let fleet = &mut setup.fleet;
    // All calls have begun before the first refresh.
    fleet.expire();
    let point = match phase {
        Phase::At(point) => point,
        Phase::AtServer(moment) => {
            let held = fleet.server.hold_next(moment);
            fleet.send(&Command::Call).await;
            let held = held.await;
            let index = fleet.processes.iter().position(|process| process.id() == held.process());
            return Refreshing { index: index.unwrap(), held: Some(held), other: None };
        }
    };
    fleet.send(&Command::StopAt(Some(point))).await;
    fleet.send(&Command::Call).await;
    let [one, two] = &mut fleet.processes[..] else { panic!("there are two") };
    let mut other = None;
    loop {
        let (index, report) = tokio::select! {
            report = one.report() => (0, report),
            report = two.report() => (1, report),
        };
        match report {
            Some(Report::At(reached)) => {
                assert_eq!(reached, point);
                fleet.processes[index].wait_until_stopped();
                fleet.processes[1 - index].send(&Command::StopAt(None)).await;
                return Refreshing { index, held: None, other };
            }
            // It has the token that is saved.
            Some(Report::Called(outcome)) if point == Point::Saved => other = Some(outcome),
            report => panic!("{report:?}"),
        }
    }
}

async fn change_during(store: Store, phase: Phase, change: Change) {
    let what = format!("{store:?} {phase:?} {change:?}");
    let Some(mut setup) = Setup::start(store, Server::Strict, with_callers(3), 2).await else { return };
    assert_eq!(setup.fleet.call().await.ok, 6);
    let mut third = setup.fleet.start_one().await.unwrap();
    third.run(Command::Load).await.unwrap();

    let Refreshing { index, held, other } = refresh_until(&mut setup, phase).await;
    // Of another user, or of another sign-in of the same one.
    let second = Credential::from(setup.fleet.server.issuer.sign_in());
    let command = match change {
        Change::SignIn => Command::SignIn(second.clone()),
        Change::SignOut => Command::SignOut,
        Change::SetToken => Command::SetToken(second.clone()),
        Change::SetAccessToken => {
            let refresh = setup.record().await["token"]["refresh"].as_str().unwrap().to_owned();
            Command::SetToken(Credential { access: second.access.clone(), refresh })
        }
    };
    third.run(command).await.unwrap();
    match held {
        Some(held) => held.release(Reply::Normal),
        None => setup.fleet.processes[index].resume(),
    }
    let mut outcome = setup.fleet.processes[index].called().await;
    outcome.merge(match other {
        Some(other) => other,
        None => setup.fleet.processes[1 - index].called().await,
    });
    let is_saved = phase == Phase::At(Point::Saved);
    let Outcome { ok, failed, failures, generation, .. } = &outcome;
    let is_same_user = matches!(change, Change::SetToken | Change::SetAccessToken);
    if is_same_user {
        assert_eq!((*ok, *failed), (6, 0), "{what}: {outcome:?}");
        assert!(is_saved || *generation == second.generation(), "{what}: {outcome:?}");
    } else {
        // The first user's token, if any, and never the second user's.
        assert!(if is_saved { *ok >= 3 } else { *ok == 0 }, "{what}: {outcome:?}");
        assert!(*generation < second.generation(), "{what}: {outcome:?}");
        let are_signed_out = failures.iter().all(|failure| failure.kind == FailureKind::SignedOut);
        assert!(are_signed_out, "{what}: {outcome:?}");
    }

    let record = setup.record().await;
    assert!(record["claim"].is_null() && record["ended"].is_null(), "{what}: {record}");
    match change {
        Change::SignOut => assert!(record["signed_out"] == true && record["token"].is_null(), "{what}"),
        // The successor, beside the access token that was set.
        Change::SetAccessToken => {
            assert_eq!(record["token"]["access"], second.access, "{what}");
            let refresh = record["token"]["refresh"].as_str().unwrap();
            assert!(setup.fleet.server.issuer.is_unused(refresh), "{what}");
        }
        Change::SignIn | Change::SetToken => assert_eq!(record["token"]["refresh"], second.refresh, "{what}"),
    }
    for process in &mut setup.fleet.processes {
        process.run(Command::Load).await.unwrap();
    }
    let outcome = setup.fleet.call().await;
    match change {
        Change::SignOut => assert_eq!((outcome.ok, outcome.failed), (0, 6), "{what}: {outcome:?}"),
        _ => assert_eq!((outcome.ok, outcome.generation), (6, second.generation()), "{what}: {outcome:?}"),
    }
    assert_eq!(setup.record().await, record, "{what}");

    // What the first user's refresh brought is revoked.
    setup.fleet.processes[index].run(Command::Shutdown).await.unwrap();
    let counts = setup.fleet.server.counts();
    assert!(counts.refreshes <= 1 && counts.refusals == 0, "{what}: {counts:?}");
    let is_revoked = !is_same_user && !is_saved;
    assert_eq!(counts.revocations, if is_revoked { counts.refreshes } else { 0 }, "{what}: {counts:?}");
    assert!(setup.fleet.server.issuer.is_unused(&second.refresh));
}

macro_rules! rows {
    ($($name:ident: $phase:expr;)+) => {
        mod p10_c98_c100_a_sign_in_a_sign_out_or_a_set_token_wins_over_a_running_refresh {
            use super::*;
            $(
                async fn $name(store: Store) {
                    for change in [
                        Change::SignIn,
                        Change::SignOut,
                        Change::SetToken,
                        Change::SetAccessToken,
                    ] {
                        change_during(store, $phase, change).await;
                    }
                }
                on_each_store! { $name; }
            )+
        }
    };
}

rows! {
    claim_written: Phase::At(Point::ClaimWritten);
    request_written: Phase::AtServer(Moment::Received);
    exchanged: Phase::AtServer(Moment::Exchanged);
    response_read: Phase::At(Point::ResponseRead);
    save_begun: Phase::At(Point::SaveBegun);
    saved: Phase::At(Point::Saved);
}
