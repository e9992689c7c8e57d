//! Instructions per call, counted by valgrind.

use std::{env, io, process::Command};

const CALLS: u64 = 5_000;

/// Runs this program twice, with `variable` set to `candidate:calls`: the difference is what the calls take.
pub(crate) fn instructions(variable: &str, candidate: &str) -> io::Result<f64> {
    let calls = total(variable, candidate, 2 * CALLS)? - total(variable, candidate, CALLS)?;
    Ok(calls as f64 / CALLS as f64)
}

/// What a process executes that makes so many calls.
fn total(variable: &str, candidate: &str, calls: u64) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .env(variable, format!("{candidate}:{calls}"))
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let collected = errors.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| io::Error::other(format!("no count: {errors}")))
}
