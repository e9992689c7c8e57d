//! etcd, of Debian's package `etcd-server`.

use crate::server::{Kind, Server, find, skip};

/// A running etcd, on a free port of loopback. It is stopped when this is dropped.
#[derive(Debug)]
pub struct EtcdServer {
    server: Server,
}

const ETCD: Kind = Kind { name: "etcd", user: "etcd", ready: "ready to serve client requests", stop: "KILL" };

// === impl EtcdServer ===

impl EtcdServer {
    /// Starts one. `None` if it isn't installed, which is printed, or is a failure if
    /// `TOWER_REAUTH_REQUIRE_SERVERS` is set.
    pub fn start() -> Option<Self> {
        let Some(program) = find("etcd") else {
            skip("etcd");
            return None;
        };
        let mut server = Server::new(ETCD);
        server.start(|port| {
            let clients = format!("http://127.0.0.1:{port}");
            // Port 0: no other member joins it.
            let peers = "http://127.0.0.1:0";
            let program = program.to_string_lossy();
            let arguments = [
                &*program,
                "--data-dir",
                "data",
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
                "--listen-peer-urls",
                peers,
                "--initial-advertise-peer-urls",
                peers,
                "--initial-cluster",
                "default=http://127.0.0.1:0",
            ];
            arguments.iter().map(|&argument| argument.to_owned()).collect()
        });
        Some(Self { server })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }
}
