//! Redis, of Debian's package `redis-server`.

use crate::server::{Kind, Server, find, skip};

/// A running Redis server, on a free port of loopback. It is stopped when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
}

const REDIS: Kind = Kind { name: "redis", user: "redis", ready: "Ready to accept connections", stop: "KILL" };

// === impl RedisServer ===

impl RedisServer {
    /// Starts one without persistence; `options` such as `["--appendonly", "yes"]` are added. `None` if it isn't
    /// installed, which is printed, or is a failure if `TOWER_REAUTH_REQUIRE_SERVERS` is set.
    pub fn start(options: &[&str]) -> Option<Self> {
        let Some(program) = find("redis-server") else {
            skip("redis-server");
            return None;
        };
        let mut server = Server::new(REDIS);
        server.start(|port| {
            let port = port.to_string();
            let program = program.to_string_lossy();
            let fixed = [&*program, "--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir", "."];
            fixed.iter().chain(options).map(|&argument| argument.to_owned()).collect()
        });
        Some(Self { server })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Kills it. What it has persisted stays.
    pub fn stop(&mut self) {
        self.server.stop("KILL");
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.server.start_again();
    }
}
