//! Processes that use a file store: this binary, run again.

use std::{
    env,
    error::Error,
    fmt::Debug,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use tower_reauth::store::{FileStore, Record, StoreError, Swap, TokenStore};

/// The user `nobody`.
pub(crate) const NOBODY: u32 = 65534;

const TASK: &str = "TOWER_REAUTH_TEST_TASK";
const FILE: &str = "TOWER_REAUTH_TEST_FILE";
/// What begins a line of a child's report; the rest of its output is the test harness's.
const REPORT: &str = "REPORT ";

/// A process that has been started.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// How a process is started.
pub(crate) struct Starting {
    command: Command,
}

/// Starts a process that does `task` with the store in `file`.
pub(crate) fn process(task: &str, file: &Path) -> Starting {
    // On Linux any user can run it by this path, whatever the folders on its own one permit.
    let this = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe().unwrap() };
    let mut command = Command::new(this);
    command.args(["child::does_its_task", "--exact", "--nocapture"]);
    command.env(TASK, task).env(FILE, file);
    Starting { command }
}

/// The same after a shell script, in which `$file` is the file, with mounts of its own.
pub(crate) fn process_with_mounts(script: &str, task: &str, file: &Path) -> Starting {
    let mut command = Command::new("unshare");
    let script = format!("set -e; file=${FILE}; {script}; exec \"$0\" \"$@\"");
    command.args(["--mount", "sh", "-c", &script]).arg(env::current_exe().unwrap());
    command.args(["child::does_its_task", "--exact", "--nocapture"]);
    command.env(TASK, task).env(FILE, file);
    Starting { command }
}

// === impl Starting ===

impl Starting {
    pub(crate) fn by_nobody(mut self) -> Self {
        self.command.uid(NOBODY).gid(NOBODY);
        self
    }

    pub(crate) fn start(mut self) -> Process {
        let mut child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process { child, stdout }
    }

    /// Runs it to its end and returns its reports, one a line.
    pub(crate) fn run(self) -> String {
        let mut process = self.start();
        let mut reports = Vec::new();
        while let Some(report) = process.next_report() {
            reports.push(report);
        }
        let status = process.child.wait().unwrap();
        assert!(status.success(), "{status}: {reports:?}");
        reports.join("\n")
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn next_report(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, report)) = line.trim_end().split_once(REPORT) {
                return Some(report.to_owned());
            }
        }
    }

    /// Kills it (`SIGKILL`).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A result in one line: an error with all its sources.
pub(crate) fn outcome<T: Debug>(result: Result<T, StoreError>) -> String {
    let error = match result {
        Ok(value) => return format!("ok: {value:?}"),
        Err(error) => error,
    };
    let kind = match () {
        () if error.is_unreadable() => "unreadable",
        () if error.is_unavailable() => "unavailable",
        () => "other",
    };
    format!("{kind}: {}", chain(&error))
}

pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    crate::support::sources(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn report(report: &str) {
    println!("\n{REPORT}{report}");
    std::io::stdout().flush().unwrap();
}

/// What a process does. In the test run itself: nothing.
#[test]
fn does_its_task() {
    let (Ok(task), Some(file)) = (env::var(TASK), env::var_os(FILE)) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(do_task(&task, PathBuf::from(file)));
}

async fn do_task(task: &str, file: PathBuf) {
    let store = FileStore::new(&file);
    match task {
        "load" => report(&outcome(store.load().await.map(|loaded| loaded.is_some()))),
        // Loads, swaps and tries to hold.
        "use" => {
            let loaded = store.load().await;
            report(&outcome(loaded.clone().map(|loaded| loaded.is_some())));
            let version = loaded.ok().flatten().map(|loaded| loaded.version().clone());
            report(&outcome(store.swap(version.as_ref(), &Record::from_bytes("SECRET-2")).await));
            report(&outcome(store.try_hold().await));
        }
        // More than fits on the disk.
        "fill" => {
            let loaded = store.load().await.unwrap().unwrap();
            let large = Record::from_bytes(vec![b'x'; 1 << 20]);
            report(&outcome(store.swap(Some(loaded.version()), &large).await));
            report(&fs::read_to_string(&file).unwrap());
            let names = fs::read_dir(file.parent().unwrap()).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            report(&format!("{names:?}"));
        }
        "hold" => {
            let _hold = store.try_hold().await.unwrap();
            report("held");
            wait_to_be_killed();
        }
        "lock" => {
            let mut path = file.into_os_string();
            path.push(".lock");
            let lock = File::create(path).unwrap();
            lock.lock().unwrap();
            report("locked");
            wait_to_be_killed();
        }
        "count" => {
            for _ in 0..50 {
                count(&store).await;
            }
        }
        _ => panic!("unknown task: {task}"),
    }
}

/// Adds one to the number in a file.
pub(crate) async fn count(store: &FileStore) {
    loop {
        let loaded = store.load().await.unwrap().unwrap();
        let number: u32 = std::str::from_utf8(loaded.record().as_bytes()).unwrap().parse().unwrap();
        let next = Record::from_bytes((number + 1).to_string());
        match store.swap(Some(loaded.version()), &next).await.unwrap() {
            Swap::Written(_) => return,
            Swap::Conflict => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Reads its input, which ends when the parent does.
fn wait_to_be_killed() {
    let _ = std::io::stdin().read_line(&mut String::new());
}
