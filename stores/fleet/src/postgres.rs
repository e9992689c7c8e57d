//! PostgreSQL and PgBouncer, of Debian's packages `postgresql` and `pgbouncer`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::server::{Kind, Server, find, skip};

/// A running PostgreSQL server, on a free port of loopback. It is stopped when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    server: Server,
}

/// A running PgBouncer in transaction mode, with two connections to the server. It is stopped when this is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

const POSTGRES: Kind = Kind {
    name: "postgres",
    user: "postgres",
    ready: "database system is ready to accept connections",
    stop: "QUIT",
};
const PGBOUNCER: Kind = Kind { name: "pgbouncer", user: "postgres", ready: "process up", stop: "TERM" };
/// The user `guarded` needs a password.
const HBA: &str = "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

// === impl PostgresServer ===

impl PostgresServer {
    /// Starts one. `None` if it isn't installed, which is printed, or is a failure if
    /// `TOWER_REAUTH_REQUIRE_SERVERS` is set.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("postgresql");
            return None;
        };
        let mut server = Server::new(POSTGRES);
        let data = server.folder().join("data");
        let mut command = server.command(programs.join("initdb"));
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        let output = command.arg("--pgdata").arg(&data).output().expect("it is there");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(data.join("pg_hba.conf"), HBA).expect("the folder is there");
        let fixed = |port: u16| -> Vec<String> {
            vec![
                programs.join("postgres").display().to_string(),
                "-D".into(),
                data.display().to_string(),
                "-p".into(),
                port.to_string(),
                "-clisten_addresses=127.0.0.1".into(),
                "-cunix_socket_directories=".into(),
                // Each process of a fleet has one.
                "-cmax_connections=500".into(),
            ]
        };
        server.start(fixed);
        Some(Self { server })
    }

    /// Its connection string, as the superuser `postgres`.
    pub fn url(&self) -> String {
        url(self.server.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Stops it like a crash: `-m immediate`.
    pub fn stop(&mut self) {
        self.server.stop("QUIT");
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self) {
        self.server.start_again();
    }
}

// === impl PgBouncer ===

impl PgBouncer {
    /// Starts one in front of a PostgreSQL server on loopback. `None` as for [`PostgresServer::start`].
    pub fn start(postgres: u16) -> Option<Self> {
        let Some(program) = find("pgbouncer") else {
            skip("pgbouncer");
            return None;
        };
        let mut server = Server::new(PGBOUNCER);
        let settings = server.folder().join("pgbouncer.ini");
        server.start(|port| {
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={postgres} user=postgres\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
            );
            fs::write(&settings, text).expect("the folder is there");
            vec![program.display().to_string(), settings.display().to_string()]
        });
        Some(Self { server })
    }

    /// Its connection string.
    pub fn url(&self) -> String {
        url(self.server.port())
    }
}

fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|version| version.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .map(|version| Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin"))
        .filter(|programs| programs.join("postgres").is_file() && programs.join("initdb").is_file())
        .max()
}
