//! Real authorization servers on loopback, installed at their first use.

mod api;
mod process;
mod setup;

use std::{io::Write, path::PathBuf};

#[allow(unused_imports, reason = "not all who use the servers name it")]
pub(crate) use api::Grant;
use process::Process;

/// The kinds of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Django REST framework with simplejwt, with rotation and blacklist.
    SimpleJwt,
    /// oidc-provider: rotates, and revokes the whole grant when a spent refresh token is presented.
    Oidc,
    /// django-oauth-toolkit.
    Dot,
}

/// A running server. It stops when this is dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    process: Process,
    options: Vec<String>,
    state: PathBuf,
}

// === impl Server ===

impl Server {
    /// Starts a server on a free port. `None` if it can't run on this machine, which is printed to stderr, or
    /// is a failure if `TOWER_REAUTH_REQUIRE_SERVERS` is set.
    pub(crate) fn start(kind: Kind, options: &[&str]) -> Option<Self> {
        let state = setup::new_state_directory();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = setup::command(kind).map(|command| Process::start(command, 0, &options, &state));
        match process {
            Ok(process) => Some(Self { kind, process, options, state }),
            Err(why) if std::env::var_os("TOWER_REAUTH_REQUIRE_SERVERS").is_none() => {
                // Not captured, as the output of a test is shown only if it fails.
                let test = std::thread::current().name().unwrap_or("main").to_owned();
                let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {kind:?} can't be run here: {why}");
                None
            }
            Err(why) => panic!("{kind:?} can't be run here: {why}"),
        }
    }

    /// Its address, without a trailing slash.
    pub(crate) fn url(&self) -> &str {
        self.process.url()
    }

    /// Its process id.
    #[allow(dead_code, reason = "not all who use the servers ask")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops it and keeps its state.
    pub(crate) fn stop(&mut self) {
        self.process.stop().unwrap_or_else(|why| panic!("{:?} did not end well: {why}", self.kind));
    }

    /// Starts it again on the same port with the same state.
    pub(crate) fn start_again(&mut self) {
        self.stop();
        let port = self
            .url()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("its URL ends with a port");
        let command = setup::command(self.kind).expect("it was there before");
        self.process = Process::start(command, port, &self.options, &self.state);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.stop();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}
