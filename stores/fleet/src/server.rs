//! A server as a child process, with its data in a temporary folder.

use std::{
    fs::{self, DirBuilder},
    io::{self, BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// It is stopped, and its data deleted, when this is dropped or the process ends in whichever way.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    /// The user who runs it, and the group.
    user: Option<(u32, u32)>,
    folder: PathBuf,
    command: Vec<String>,
    port: u16,
    child: Option<Child>,
}

/// What servers differ in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Of the Debian package.
    pub(crate) user: &'static str,
    /// Part of the line that it prints when it accepts connections.
    pub(crate) ready: &'static str,
    /// The signal that stops it.
    pub(crate) stop: &'static str,
}

/// Waits for the name of a signal, for the end of the parent process, or for Ctrl-C.
const WATCH: &str = r#"
trap : INT TERM HUP
"$@" </dev/null 2>&1 &
exec >/dev/null 2>&1
read -r signal
kill -s "${signal:-$STOP}" $!
wait $!
[ "$signal" ] || rm -rf "$FOLDER"
"#;
/// Longer than a start takes on any machine.
const TIMEOUT: Duration = Duration::from_secs(300);

// === impl Server ===

impl Server {
    /// Creates its folder. Root runs it as the user of its package, if there is one.
    pub(crate) fn new(kind: Kind) -> Self {
        let user =
            user(kind.user).filter(|_| fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0));
        let folder =
            std::env::temp_dir().join(format!("tower-reauth-{}-{:016x}", kind.name, fastrand::u64(..)));
        DirBuilder::new().mode(0o711).create(&folder).expect("a folder can be created");
        if let Some((user, group)) = user {
            chown(&folder, Some(user), Some(group)).expect("root may change the owner");
        }
        Self { kind, user, folder, command: Vec::new(), port: 0, child: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A command of the server's user, in its folder.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it on a free port.
    pub(crate) fn start(&mut self, command: impl Fn(u16) -> Vec<String>) {
        let mut failure = String::new();
        // Another process may take the port first.
        for _ in 0..5 {
            let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
            self.port = free.expect("a port is free").port();
            self.command = command(self.port);
            match self.spawn() {
                Ok(()) => return,
                Err(why) => failure = why,
            }
        }
        panic!("{} doesn't start:\n{failure}", self.kind.name);
    }

    /// Starts it again, on the same port and with the same data.
    pub(crate) fn start_again(&mut self) {
        self.spawn().unwrap_or_else(|why| panic!("{} doesn't start again:\n{why}", self.kind.name));
    }

    /// Sends it a signal, such as `KILL`, and waits for its end.
    pub(crate) fn stop(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        let mut stdin = child.stdin.take().expect("it is piped");
        writeln!(stdin, "{signal}").expect("the shell waits for it");
        child.wait().expect("it is a child");
    }

    fn spawn(&mut self) -> Result<(), String> {
        let mut command = self.command("/bin/sh");
        command.args(["-c", WATCH, "sh"]).args(&self.command);
        command.env("STOP", self.kind.stop).env("FOLDER", &self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("there is a shell");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        self.child = Some(child);
        let (sender, printed) = mpsc::channel();
        // Reads to the end, so that the server never blocks on a full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut text = String::new();
        while let Ok(line) = printed.recv_timeout(TIMEOUT) {
            if line.contains(self.kind.ready) {
                return Ok(());
            }
            text += &line;
            text.push('\n');
        }
        self.stop("KILL");
        Err(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.child.take() {
            Some(mut child) => {
                drop(child.stdin.take());
                let _ = child.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// Says visibly that a test is skipped; a failure if `TOWER_REAUTH_REQUIRE_SERVERS` is set.
pub(crate) fn skip(what: &str) {
    let test = thread::current().name().unwrap_or("main").to_owned();
    if std::env::var_os("TOWER_REAUTH_REQUIRE_SERVERS").is_some() {
        panic!("{what} isn't installed");
    }
    // Not captured, as the output of a test is shown only if it fails.
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {what} isn't installed");
}

/// A program that is in one of the usual folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
    folders.map(|folder| folder.join(program)).find(|program| program.is_file())
}

/// A user's ID, and their group's.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let user = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = user.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
