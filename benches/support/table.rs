//! Rows of measurements beside their goals, and the processes that measure them.

#![allow(clippy::print_stdout, reason = "figures are for reading")]

use std::{collections::BTreeMap, env, fmt, process::Command, str::FromStr};

/// What a bench prints at its end.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
    /// The row is printed for comparison.
    None,
}

/// The figures of several processes, by name.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<String, Vec<f64>>);

/// Set for a child process: what it measures.
const JOB: &str = "BENCH_JOB";
/// Set for a child process: a string of a different length for each, which moves its stack.
const PADDING: &str = "BENCH_PADDING";

/// Whether `--bench` was given. `cargo test --benches` runs a bench without it.
pub(crate) fn is_bench() -> bool {
    env::args().any(|argument| argument == "--bench")
}

/// What this process measures, if another process of the same bench started it.
pub(crate) fn job() -> Option<String> {
    env::var(JOB).ok()
}

/// Prints a figure for the parent process.
pub(crate) fn report(name: impl fmt::Display, figure: f64) {
    println!("{figure:?} {name}");
}

/// Runs `job` in `count` processes, one after the other, and collects what they report.
///
/// One binary moves by 5 % with its memory layout. Each process has its own.
pub(crate) fn in_processes(count: usize, job: &str) -> Samples {
    let mut samples = Samples::default();
    for process in 0..count {
        let output = Command::new(env::current_exe().expect("a running program has a path"))
            .env(JOB, job)
            .env(PADDING, "x".repeat(process * 1_234))
            .output()
            .expect("a bench can start itself");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{job}: {errors}");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (figure, name) = line.split_once(' ').expect("a figure and its name");
            let figure = f64::from_str(figure).expect("a number");
            samples.0.entry(name.to_owned()).or_default().push(figure);
        }
    }
    samples
}

/// The median; not a number if there are no values. Values that aren't numbers don't count.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Two digits after the point for small figures, none for large ones.
fn rounded(figure: f64) -> String {
    if figure.abs() < 10.0 && figure.fract() != 0.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}

// === impl Table ===

impl Table {
    pub(crate) fn row(&mut self, name: impl Into<String>, measured: f64, goal: Goal) {
        self.push(name.into(), measured, rounded(measured), goal);
    }

    /// A row with the median of several processes, and the lowest and highest figure.
    pub(crate) fn row_of(&mut self, name: impl Into<String>, samples: &Samples, figure: &str, goal: Goal) {
        let values = samples.of(figure);
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let median = samples.median(figure);
        let measured = format!("{median:.2} ({lowest:.2} to {highest:.2})");
        self.push(name.into(), median, measured, goal);
    }

    /// A row that can't be measured here.
    pub(crate) fn missing(&mut self, name: impl Into<String>, why: &str, goal: Goal) {
        self.rows.push([name.into(), format!("not measured: {why}"), goal.to_string(), String::new()]);
    }

    pub(crate) fn print(&self) {
        let head = ["row", "measured", "goal", "ok"].map(str::to_owned);
        let widths: [usize; 4] = std::array::from_fn(|column| {
            self.rows.iter().chain([&head]).map(|row| row[column].len()).max().unwrap_or(0)
        });
        let print = |row: &[String; 4]| {
            let [a, b, c, d] = widths;
            println!("| {:a$} | {:b$} | {:c$} | {:d$} |", row[0], row[1], row[2], row[3]);
        };
        println!();
        print(&head);
        print(&widths.map(|width| "-".repeat(width)));
        self.rows.iter().for_each(print);
    }

    fn push(&mut self, name: String, figure: f64, measured: String, goal: Goal) {
        let ok = match goal.is_met_by(figure) {
            Some(true) => "ok",
            Some(false) => "no",
            None => "",
        };
        self.rows.push([name, measured, goal.to_string(), ok.to_owned()]);
    }
}

// === impl Goal ===

impl Goal {
    fn is_met_by(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(goal) => Some(figure <= goal),
            Self::AtLeast(goal) => Some(figure >= goal),
            Self::Below(goal) => Some(figure < goal),
            Self::None => None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(goal) => write!(f, "<= {goal}"),
            Self::AtLeast(goal) => write!(f, ">= {goal}"),
            Self::Below(goal) => write!(f, "< {goal}"),
            Self::None => Ok(()),
        }
    }
}

// === impl Samples ===

impl Samples {
    pub(crate) fn median(&self, figure: &str) -> f64 {
        median(self.of(figure).iter().copied())
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn of(&self, figure: &str) -> &[f64] {
        self.0.get(figure).map_or(&[], Vec::as_slice)
    }
}
