//! A server as a child process. It prints a line when it is ready, and exits when its stdin is closed.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(super) struct Process {
    child: Child,
    url: String,
    /// Its stderr, until it is shown.
    errors: Option<JoinHandle<String>>,
}

/// Longer than a start or a stop takes on any machine.
const LIMIT: Duration = Duration::from_secs(300);

// === impl Process ===

impl Process {
    pub(super) fn start(mut command: Command, port: u16, options: &[String], state: &Path) -> Self {
        command.arg(port.to_string()).args(options).arg("--state").arg(state).arg("--until-stdin-closes");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("its program was found before");
        let (said, ready) = mpsc::channel();
        let mut errors = child.stderr.take().expect("it is piped");
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        // Reads to the end, so that the child never blocks on a full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = ready.recv_timeout(left) else {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} did not start:\n{}", errors.join().unwrap_or_default());
            };
            if let Some(url) = line.strip_prefix("ready ") {
                return Self { child, url: url.to_owned(), errors: Some(errors) };
            }
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it.
    ///
    /// # Errors
    ///
    /// How it ended, with its stderr, unless it exited by itself and with success.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return if status.success() { Ok(()) } else { Err(self.with_errors(&status.to_string())) };
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err(self.with_errors("it did not exit when its stdin was closed"))
    }

    fn with_errors(&mut self, end: &str) -> String {
        let errors = self.errors.take().and_then(|errors| errors.join().ok());
        format!("{end}\n{}", errors.unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
