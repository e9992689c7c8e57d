//! What a row of the picture shows, read from a timeline.

use std::time::Duration;

use crate::{
    step::Step,
    timeline::{Entry, Who, grouped},
};

/// One row: what was done from when to when, and what came of it.
#[derive(Default)]
pub(super) struct Row {
    pub(super) bars: Vec<Bar>,
    pub(super) outcome: Option<Outcome>,
}

pub(super) struct Bar {
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Refreshing,
    Waiting,
    Sent,
}

pub(super) struct Outcome {
    pub(super) at: Duration,
    pub(super) is_good: bool,
    pub(super) text: String,
}

/// How many of a crowd waited, and how many had succeeded, by time.
#[derive(Default)]
pub(super) struct Curves {
    pub(super) waiting: Vec<(Duration, usize)>,
    pub(super) succeeded: Vec<(Duration, usize)>,
    pub(super) callers: usize,
}

/// Reads the row of those that `is_mine` picks.
pub(super) fn row(entries: &[Entry], is_mine: impl Fn(Who) -> bool) -> Row {
    let mut row = Row::default();
    let mut open: Option<(Duration, Kind)> = None;
    for Entry { at, step, .. } in entries.iter().filter(|entry| is_mine(entry.who)) {
        let begins = match step {
            Step::RefreshesItself { .. } | Step::Presents { .. } => Some(Kind::Refreshing),
            Step::Starts { .. } | Step::Joins { .. } => Some(Kind::Waiting),
            Step::Sends { .. } => Some(Kind::Sent),
            _ => None,
        };
        let outcome = match step {
            Step::SignsOut { .. } => Some((false, "refresh refused: signed out".to_owned())),
            Step::FindsNoToken | Step::Failed { .. } => Some((false, "failed".to_owned())),
            Step::NotRenewed { .. } => Some((false, "no new token".to_owned())),
            Step::Renewed { waiting, .. } => Some((true, format!("new token for {}", grouped(*waiting)))),
            Step::Answered { status } => Some((status.is_success(), status.to_string())),
            _ => None,
        };
        if begins.is_none() && outcome.is_none() {
            continue;
        }
        if let Some((from, kind)) = open.take() {
            row.bars.push(Bar { from, to: *at, kind });
        }
        open = begins.map(|kind| (*at, kind));
        row.outcome = outcome.map(|(is_good, text)| Outcome { at: *at, is_good, text }).or(row.outcome);
    }
    row
}

pub(super) fn curves(entries: &[Entry]) -> Curves {
    let mut curves = Curves::default();
    for Entry { at, step, .. } in entries {
        match step {
            Step::Starts { .. } => curves.waiting.extend([(*at, 0), (*at, 1)]),
            Step::Waiting { callers, .. } => climb(&mut curves.waiting, *at, *callers),
            Step::Succeeded { callers, of } => {
                climb(&mut curves.succeeded, *at, *callers);
                curves.callers = *of;
            }
            // From here on nobody waits, and the first are on their way.
            Step::Renewed { waiting, .. } => {
                curves.waiting.extend([(*at, *waiting), (*at, 0)]);
                curves.succeeded.push((*at, 0));
            }
            _ => {}
        }
    }
    curves
}

/// Adds a point. Callers in several threads count in one order and tell of it in another: what is behind is left out.
fn climb(curve: &mut Vec<(Duration, usize)>, at: Duration, callers: usize) {
    if curve.last().is_none_or(|(_, highest)| callers > *highest) {
        curve.push((at, callers));
    }
}
