//! [`Program`] and [`Process`].

use std::{
    env, io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin},
    sync::mpsc,
    time::timeout,
};

use crate::{
    Command, Failure, Outcome, Point, Report, Settings,
    worker::{REPORT, SETTINGS},
};

/// How this executable is run as a process.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

/// A running process. It is killed when this is dropped, and exits when this program ends.
#[derive(Debug)]
pub struct Process {
    id: Pid,
    child: Child,
    stdin: ChildStdin,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// Longer than anything takes on any machine: only a process that hangs exceeds it.
const TIMEOUT: Duration = Duration::from_secs(300);

// === impl Program ===

impl Program {
    /// This executable, with these arguments, with which it calls [`run_if_process`](crate::run_if_process).
    ///
    /// # Errors
    ///
    /// If the operating system doesn't tell its path.
    pub fn this(arguments: &[&str]) -> io::Result<Self> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Ok(Self { path: env::current_exe()?, arguments })
    }

    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it can't be started, or can't use its settings.
    pub async fn start(&self, settings: &Settings) -> io::Result<Process> {
        let mut command = tokio::process::Command::new(&self.path);
        command.args(&self.arguments).env(SETTINGS, serde_json::to_string(settings)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, reports) = mpsc::unbounded_channel();
        // Reads to the end, so that the process never blocks on a full pipe.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(report) = line.strip_prefix(REPORT) {
                    let _ = sender.send(serde_json::from_str(report).expect("it is a report"));
                }
            }
        });
        let id = Pid::from_raw(child.id().expect("it has just started").cast_signed());
        let mut process = Process { id, child, stdin, reports };
        match process.report().await {
            Some(Report::Ready) => Ok(process),
            Some(Report::Done(Err(failure))) => Err(io::Error::other(failure.message)),
            other => Err(io::Error::other(format!("the process didn't start: {other:?}"))),
        }
    }
}

// === impl Process ===

impl Process {
    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.id.as_raw().cast_unsigned()
    }

    /// Sends a command.
    pub async fn send(&mut self, command: &Command) {
        let mut line = serde_json::to_string(command).expect("commands are serializable");
        line.push('\n');
        // If it is dead, the next report says so.
        let _ = self.stdin.write_all(line.as_bytes()).await;
    }

    /// Its next report. `None`: it has ended.
    ///
    /// # Panics
    ///
    /// If there is none for five minutes.
    pub async fn report(&mut self) -> Option<Report> {
        let report = timeout(TIMEOUT, self.reports.recv()).await;
        report.unwrap_or_else(|_| panic!("process {} hangs", self.id()))
    }

    /// The results of the calls that [`Command::Call`] started.
    ///
    /// # Panics
    ///
    /// If it reports anything else.
    pub async fn called(&mut self) -> Outcome {
        match self.report().await {
            Some(Report::Called(outcome)) => outcome,
            other => panic!("process {} should have called: {other:?}", self.id()),
        }
    }

    /// Makes it call the API, and returns the results.
    ///
    /// # Panics
    ///
    /// As [`called`](Self::called).
    pub async fn call(&mut self) -> Outcome {
        self.send(&Command::Call).await;
        self.called().await
    }

    /// Sends a command and waits until it is done.
    ///
    /// # Errors
    ///
    /// Those of the session.
    ///
    /// # Panics
    ///
    /// If it reports anything else.
    pub async fn run(&mut self, command: Command) -> Result<(), Failure> {
        self.send(&command).await;
        match self.report().await {
            Some(Report::Done(result)) => result,
            other => panic!("process {} should have done {command:?}: {other:?}", self.id()),
        }
    }

    /// Waits until it has stopped itself at a point, or died there.
    ///
    /// # Panics
    ///
    /// If it reports anything else.
    pub async fn stopped_at(&mut self, point: Point) {
        let report = self.report().await;
        match (point, report) {
            (Point::InClaimSwap | Point::InSaveSwap, None) => {}
            (_, Some(Report::At(reached))) if reached == point => self.wait_until_stopped(),
            (_, other) => panic!("process {} should have stopped at {point:?}: {other:?}", self.id()),
        }
    }

    /// Suspends it (`SIGSTOP`), and returns when it has stopped.
    pub fn suspend(&self) {
        self.signal(Signal::SIGSTOP);
        self.wait_until_stopped();
    }

    /// Resumes it (`SIGCONT`).
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it (`SIGKILL`), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub async fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Closes its input, upon which it exits, and returns when it is gone.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub async fn exit(mut self) -> io::Result<ExitStatus> {
        drop(self.stdin);
        self.child.wait().await
    }

    fn signal(&self, signal: Signal) {
        // It isn't reaped before `kill` or `exit`, so the ID is its own.
        kill(self.id, signal).expect("it is a child of this process");
    }

    /// Waits until it has stopped: it has reported a point, or was suspended.
    ///
    /// # Panics
    ///
    /// If it has been waited for before.
    pub fn wait_until_stopped(&self) {
        // A zombie would never stop.
        let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.id), stopped).expect("it is a child of this process");
    }
}
