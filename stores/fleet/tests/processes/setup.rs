//! Fleets with a store.

use std::time::Duration;

use tower_reauth::testing::Issuer;
use tower_reauth_fleet::{
    Command, Credential, Fleet, Held, Moment, Point, Process, Program, Settings, TokenServer,
};

use crate::stores::{Record, Store};

/// So long that it never elapses during a test.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 3600);

/// The longest exchange timeout that there is.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(15);
/// The exchange timeout of a process that is killed or suspended, in a store without a hold. Others wait that long and
/// [`SLACK`] more for its claim to lapse.
const SHORT_EXCHANGE: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(1);

pub(crate) struct Setup {
    pub(crate) fleet: Fleet,
    pub(crate) store: Store,
    /// Of the sign-in.
    pub(crate) first: Credential,
    record: Record,
}

/// A repeat is tolerated, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Tolerant,
    Strict,
}

/// How far a process is in a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has stopped itself there.
    At(Point),
    /// The server has its request.
    AtServer(Moment),
}

/// This binary, as a process.
pub(crate) fn this_program() -> Program {
    Program::this(&["runs_as_a_process", "--exact", "--nocapture"]).unwrap()
}

/// The settings of processes whose claims never lapse.
pub(crate) fn with_callers(callers: usize) -> Settings {
    Settings { callers, exchange_timeout: Some(LONGEST_EXCHANGE), slack: Some(NEVER), ..Settings::default() }
}

/// The same, but the claim of a process with a [short exchange timeout](Setup::start_with_short_exchange) lapses. In the
/// file store nobody waits for that.
pub(crate) fn with_lapses(store: Store, callers: usize) -> Settings {
    let slack = if store == Store::File { NEVER } else { SLACK };
    Settings { slack: Some(slack), ..with_callers(callers) }
}

// === impl Setup ===

impl Setup {
    /// Starts processes, with a server that revokes the grant if a refresh token is used again. `None`: the store's
    /// server isn't installed.
    pub(crate) async fn start(
        store: Store,
        server: Server,
        settings: Settings,
        processes: usize,
    ) -> Option<Self> {
        let tolerance = if server == Server::Tolerant { NEVER } else { Duration::ZERO };
        let server = TokenServer::start(Issuer::builder().tolerate_reuse_for(tolerance)).await.unwrap();
        Self::start_with(store, server, settings, processes).await
    }

    /// The same, with any server.
    pub(crate) async fn start_with(
        store: Store,
        server: TokenServer,
        settings: Settings,
        processes: usize,
    ) -> Option<Self> {
        let record = Record::new(store).await?;
        let settings = Settings { store: record.store().await, ..settings };
        Some(Self::with_record(store, record, server, settings, processes).await)
    }

    /// The same, with a record that the test has made, and its store in the settings.
    pub(crate) async fn with_record(
        store: Store,
        record: Record,
        server: TokenServer,
        settings: Settings,
        processes: usize,
    ) -> Self {
        let settings = Settings { record: record.name(), ..settings };
        let (fleet, first) = Fleet::start(this_program(), server, settings, processes).await.unwrap();
        Self { fleet, store, first, record }
    }

    /// Starts a process that will be killed or suspended. In a store without a hold its exchange timeout is short, so that
    /// its claim lapses soon.
    pub(crate) async fn start_with_short_exchange(&self) -> Process {
        let process = self.fleet.start_one_with(|settings| {
            if self.store != Store::File {
                settings.exchange_timeout = Some(SHORT_EXCHANGE);
            }
        });
        process.await.unwrap()
    }

    /// Makes a process refresh, up to this phase: its token has expired.
    pub(crate) async fn refresh_until(&self, process: &mut Process, phase: Phase) -> Option<Held> {
        match phase {
            Phase::At(point) => {
                process.send(&Command::StopAt(Some(point))).await;
                process.send(&Command::Call).await;
                process.stopped_at(point).await;
                None
            }
            Phase::AtServer(moment) => {
                let held = self.fleet.server.hold_next(moment);
                process.send(&Command::Call).await;
                let held = held.await;
                assert_eq!(held.process(), process.id());
                Some(held)
            }
        }
    }

    /// The bytes of the record. `None`: there is none.
    pub(crate) async fn bytes(&self) -> Option<Vec<u8>> {
        self.record.read().await
    }

    /// The record, which is there, and whole.
    pub(crate) async fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes().await.unwrap()).unwrap()
    }

    pub(crate) async fn delete_record(&self) {
        self.record.delete().await;
    }
}
