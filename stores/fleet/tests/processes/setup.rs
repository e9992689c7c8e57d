//! Fleets with a store in a temporary folder.

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;
use tower_reauth_fleet::{Fleet, Pair, Policy, Program, Settings, StoreKind, TokenServer};

/// So long that it never lapses during a test.
pub(crate) const NEVER: Duration = Duration::from_secs(24 * 3600);
/// The longest that there is.
pub(crate) const LONGEST_EXCHANGE: Duration = Duration::from_secs(15);

pub(crate) struct Setup {
    pub(crate) fleet: Fleet,
    /// Of the sign-in.
    pub(crate) first: Pair,
    folder: TempDir,
}

/// A repeat is tolerated, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Tolerant,
    Strict,
}

/// The settings of a process with the file store. A claim lapses only if its holder is known to be dead.
pub(crate) fn with_file(callers: usize) -> Settings {
    Settings {
        store: StoreKind::File(None),
        callers,
        exchange_timeout: Some(LONGEST_EXCHANGE),
        slack: Some(NEVER),
        ..Settings::default()
    }
}

// === impl Setup ===

impl Setup {
    /// Starts processes, with a server that revokes the grant if a refresh token is used again.
    pub(crate) async fn start(server: Server, mut settings: Settings, processes: usize) -> Self {
        let folder = TempDir::new().unwrap();
        if settings.store == StoreKind::File(None) {
            settings.store = StoreKind::File(Some(folder.path().join("credentials.json")));
        }
        let tolerance = (server == Server::Tolerant).then_some(NEVER);
        let server = TokenServer::start(Policy::Revoke, tolerance).await.unwrap();
        let program = Program::this(&["runs_as_a_process", "--exact", "--nocapture"]).unwrap();
        let (fleet, first) = Fleet::start(program, server, settings, processes).await.unwrap();
        Self { fleet, first, folder }
    }

    /// The file with the record.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("credentials.json")
    }

    /// The record, which is whole.
    pub(crate) fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}
