//! A process is suspended while it refreshes.

use std::time::Duration;

use tower_reauth::testing::{Issuer, Reuse};
use tower_reauth_fleet::{
    Command, FailureKind, Moment, Outcome, Point, Process, Reply, Settings, TokenServer,
};

use crate::{
    setup::{Phase, Server, Setup, with_lapses},
    stores::{Store, on_each_store},
};

/// The exchange timeout in the file store. Others wait that long and 5 s more.
const EXCHANGE: Duration = Duration::from_secs(5);

/// A process that has another's token, and whose own is expired.
async fn start(store: Store, server: Server, settings: Settings) -> Option<(Setup, Process)> {
    let mut setup = Setup::start(store, server, settings, 1).await?;
    assert_eq!(setup.fleet.call().await.ok, 1);
    let mut holder = setup.start_with_short_exchange().await;
    holder.run(Command::Load).await.unwrap();
    setup.fleet.server.issuer.expire_access_tokens();
    Some((setup, holder))
}

/// In the file store the hold stays with its process: another one finds the store busy, and presents nothing.
async fn others_find_it_busy(phase: Phase) {
    let settings = Settings { exchange_timeout: Some(EXCHANGE), ..with_lapses(Store::File, 1) };
    let (mut setup, mut holder) = start(Store::File, Server::Tolerant, settings).await.unwrap();
    let held = setup.refresh_until(&mut holder, phase).await;
    holder.suspend();
    let (before, record) = (setup.fleet.server.counts(), setup.bytes().await);

    let outcome = setup.fleet.call().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 1), "{outcome:?}");
    let busy = format!("pid {}", holder.id());
    let holders: Vec<_> = outcome.failures.iter().filter_map(|failure| failure.holder.as_deref()).collect();
    assert!(holders.len() == 1 && holders[0].contains(&busy), "{outcome:?}");
    assert_eq!(setup.fleet.server.counts(), before);
    assert_eq!(setup.bytes().await, record);

    if let Some(held) = held {
        held.release(Reply::Normal);
    }
    holder.resume();
    assert_eq!(holder.called().await.ok, 1);
    assert_eq!(setup.fleet.call().await.ok, 1);
    let counts = setup.fleet.server.counts();
    assert_eq!((counts.refreshes, counts.refusals), (1, 0));
    // Its exchange may have been cut, and then repeated.
    assert!((1..=2).contains(&counts.presentations), "{counts:?}");
    assert!(setup.fleet.server.issuer.family_is_alive());
    assert!(setup.record().await["claim"].is_null());
}

/// Elsewhere its claim lapses, and another one repeats. What it does when it is resumed changes nothing.
async fn others_take_over(store: Store, phase: Phase) {
    let start = start(store, Server::Tolerant, with_lapses(store, 1)).await;
    let Some((mut setup, mut holder)) = start else { return };
    let held = setup.refresh_until(&mut holder, phase).await;
    holder.suspend();
    let outcome = setup.fleet.call().await;
    assert_eq!((outcome.ok, outcome.repeated), (1, 1), "{outcome:?}");
    let counts = setup.fleet.server.counts();
    let is_exchanged = matches!(phase, Phase::At(Point::ResponseRead) | Phase::AtServer(Moment::Exchanged));
    assert_eq!((counts.refreshes, counts.reuses), (1, usize::from(is_exchanged)));
    for _ in 0..2 {
        setup.fleet.server.issuer.expire_access_tokens();
        let outcome = setup.fleet.call().await;
        assert_eq!((outcome.ok, outcome.repeated), (1, 1), "{outcome:?}");
    }
    let record = setup.bytes().await;

    if let Some(held) = held {
        held.release(Reply::Normal);
    }
    holder.resume();
    let outcome = holder.called().await;
    assert_eq!((outcome.ok, outcome.generation), (1, 4), "{outcome:?}");
    assert_eq!(outcome.repeated, 0, "{outcome:?}");
    match phase {
        Phase::At(Point::ClaimWritten) => assert_eq!(outcome.claims_lost, 0),
        Phase::At(_) => assert_eq!(outcome.claims_lost, 1),
        // It depends on whether it finds the response or its timeout first.
        Phase::AtServer(_) => assert!(outcome.claims_lost <= 1),
    }
    assert_eq!(setup.bytes().await, record);
    let counts = setup.fleet.server.counts();
    assert_eq!((counts.refreshes, counts.refusals), (3, 0));
    assert!(setup.fleet.server.presentations(&setup.first.refresh) <= 2);
    // The one whose token the record has goes on.
    setup.fleet.server.issuer.expire_access_tokens();
    assert_eq!(setup.fleet.call().await.ok, 1);
    assert_eq!(holder.call().await.ok, 1);
    assert_eq!(setup.fleet.server.counts().refreshes, 4);
}

macro_rules! rows {
    ($($name:ident: $phase:expr;)+) => {
        mod c26_c29_a_suspended_process_keeps_the_hold_of_a_file_and_loses_its_claim_elsewhere {
            use super::*;
            $(
                async fn $name(store: Store) {
                    match store {
                        Store::File => others_find_it_busy($phase).await,
                        _ => others_take_over(store, $phase).await,
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
}

/// The server refuses the second presentation of a token, and leaves the grant alone.
async fn a_token_saved_after_a_refused_repeat_is_used_by_all_processes(store: Store) {
    let server = TokenServer::start(Issuer::builder().reuse(Reuse::Refuse)).await.unwrap();
    let Some(mut setup) = Setup::start_with(store, server, with_lapses(store, 1), 2).await else { return };
    assert_eq!(setup.fleet.call().await.ok, 2);
    let mut holder = setup.start_with_short_exchange().await;
    holder.run(Command::Load).await.unwrap();
    setup.fleet.server.issuer.expire_access_tokens();
    setup.refresh_until(&mut holder, Phase::At(Point::ResponseRead)).await;

    let Outcome { ok, failures, .. } = setup.fleet.call().await;
    assert_eq!(ok, 0);
    assert!(failures.iter().all(|failure| failure.kind == FailureKind::GrantEnded), "{failures:?}");
    assert!(!setup.record().await["ended"].is_null());
    assert_eq!(setup.fleet.server.counts().refusals, 1);

    holder.resume();
    let outcome = holder.called().await;
    assert_eq!((outcome.ok, outcome.claims_lost), (1, 1), "{outcome:?}");
    assert!(setup.record().await["ended"].is_null());
    for process in &mut setup.fleet.processes {
        process.run(Command::Load).await.unwrap();
    }
    assert_eq!(setup.fleet.call().await.ok, 2);
    assert_eq!(setup.fleet.server.counts().refusals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_token_saved_after_a_refused_repeat_is_used_by_all_processes_in_redis() {
    a_token_saved_after_a_refused_repeat_is_used_by_all_processes(Store::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_token_saved_after_a_refused_repeat_is_used_by_all_processes_in_postgres() {
    a_token_saved_after_a_refused_repeat_is_used_by_all_processes(Store::Postgres).await;
}
