//! A process is suspended while it refreshes.

use std::time::Duration;

use tower_reauth_fleet::{Command, Moment, Point, Reply, Settings};

use crate::setup::{Server, Setup, with_file};

/// Others wait for this and 5 s more.
const EXCHANGE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Suspended {
    At(Point),
    /// While the server has its request.
    AtServer(Moment),
}

/// Another process finds the store busy, and presents nothing. The suspended one goes on when it is resumed.
async fn others_find_it_busy(suspended: Suspended) {
    let settings = Settings { exchange_timeout: Some(EXCHANGE), ..with_file(1) };
    let mut setup = Setup::start(Server::Tolerant, settings, 2).await;
    let fleet = &mut setup.fleet;
    assert_eq!(fleet.call().await.ok, 2);
    fleet.server.expire();
    let mut other = fleet.processes.pop().unwrap();
    let holder = &mut fleet.processes[0];
    let held = match suspended {
        Suspended::At(point) => {
            holder.send(&Command::StopAt(point)).await;
            holder.send(&Command::Call).await;
            holder.stopped_at(point).await;
            None
        }
        Suspended::AtServer(moment) => {
            let held = fleet.server.hold_next(moment);
            holder.send(&Command::Call).await;
            let held = held.await;
            holder.suspend();
            Some(held)
        }
    };
    let before = fleet.server.counts();

    let record = std::fs::read(setup.file()).unwrap();
    let fleet = &mut setup.fleet;
    let holder = &mut fleet.processes[0];
    other.send(&Command::Call).await;
    let outcome = other.called().await;
    assert_eq!((outcome.ok, outcome.failed), (0, 1), "{outcome:?}");
    let busy = format!("pid {}", holder.id());
    let holders: Vec<_> = outcome.failures.iter().filter_map(|failure| failure.holder.as_deref()).collect();
    assert!(holders.len() == 1 && holders[0].contains(&busy), "{outcome:?}");
    assert_eq!(fleet.server.counts(), before);
    assert_eq!(std::fs::read(setup.file()).unwrap(), record);

    let fleet = &mut setup.fleet;
    if let Some(held) = held {
        held.release(Reply::Normal);
    }
    let holder = &mut fleet.processes[0];
    holder.resume();
    assert_eq!(holder.called().await.ok, 1);
    assert_eq!(other.call().await.ok, 1);
    let counts = fleet.server.counts();
    assert_eq!((counts.rotations, counts.refusals), (1, 0));
    // Its exchange may have been cut, and then repeated.
    assert!((1..=2).contains(&counts.presentations), "{counts:?}");
    assert!(fleet.server.is_signed_in());
    assert!(setup.record()["claim"].is_null());
}

macro_rules! rows {
    ($($name:ident: $suspended:expr;)+) => {
        mod c26_c29_the_store_is_busy {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    others_find_it_busy($suspended).await;
                }
            )+
        }
    };
}

rows! {
    claim_written: Suspended::At(Point::ClaimWritten);
    request_written: Suspended::AtServer(Moment::Received);
    exchanged: Suspended::AtServer(Moment::Exchanged);
    response_read: Suspended::At(Point::ResponseRead);
}
