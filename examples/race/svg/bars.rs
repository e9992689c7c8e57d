//! Turns a timeline into the rows and curves of the picture.

use std::time::Duration;

use crate::{
    step::Step,
    timeline::{Entry, Who, grouped},
};

/// One row: its bars, and the outcome.
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

/// The numbers of waiting and of successful callers over time.
#[derive(Default)]
pub(super) struct Curves {
    pub(super) waiting: Vec<(Duration, usize)>,
    pub(super) succeeded: Vec<(Duration, usize)>,
    pub(super) callers: usize,
}

/// The row of the entries that `is_mine` selects.
pub(super) fn row(entries: &[Entry], is_mine: impl Fn(Who) -> bool) -> Row {
    let mut row = Row::default();
    let mut open: Option<(Duration, Kind)> = None;
    for Entry { at, step, .. } in entries.iter().filter(|entry| is_mine(entry.who)) {
        let begins = match step {
            Step::RefreshesAlone { .. } | Step::PresentsRefreshToken { .. } => Some(Kind::Refreshing),
            Step::StartsRefresh { .. } | Step::JoinsRefresh { .. } => Some(Kind::Waiting),
            Step::Sends { .. } => Some(Kind::Sent),
            _ => None,
        };
        let outcome = match step {
            Step::SignsOut { .. } => Some((false, "refresh refused: signed out".to_owned())),
            Step::FindsNoToken | Step::Fails { .. } => Some((false, "failed".to_owned())),
            Step::RefreshFailed { .. } => Some((false, "no new token".to_owned())),
            Step::Refreshed { waiters, .. } => Some((true, format!("new token for {}", grouped(*waiters)))),
            Step::Receives { status } => Some((status.is_success(), status.to_string())),
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
            Step::StartsRefresh { .. } => curves.waiting.extend([(*at, 0), (*at, 1)]),
            Step::Waiting { callers, .. } => climb(&mut curves.waiting, *at, *callers),
            Step::Succeeded { callers, total } => {
                climb(&mut curves.succeeded, *at, *callers);
                curves.callers = *total;
            }
            // From here on no caller waits, and the first requests are being sent.
            Step::Refreshed { waiters, .. } => {
                curves.waiting.extend([(*at, *waiters), (*at, 0)]);
                curves.succeeded.push((*at, 0));
            }
            _ => {}
        }
    }
    curves
}

/// Adds a point. Threads may log their counts in another order than they counted: lower counts are left out.
fn climb(curve: &mut Vec<(Duration, usize)>, at: Duration, callers: usize) {
    if curve.last().is_none_or(|(_, highest)| callers > *highest) {
        curve.push((at, callers));
    }
}
