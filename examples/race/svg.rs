//! The timelines as a picture: time from left to right, a row for each call, the refreshes marked.

mod bars;
mod canvas;

use std::time::Duration;

use crate::{
    api::CALLS,
    tally::Part,
    timeline::{Entry, Who, grouped},
};

use self::{
    bars::{Kind, Row},
    canvas::{Canvas, WIDTH},
};

/// How times become places.
#[derive(Clone, Copy)]
struct Scale {
    span: Duration,
}

const TITLE: &str = "The access token has expired, and the calls come at once";
const MARGIN: f64 = 24.0;
const PLOT: (f64, f64) = (186.0, 664.0);
const OUTCOMES: f64 = 690.0;
const ROW: f64 = 28.0;
const BAR: f64 = 14.0;
const CROWD: f64 = 84.0;

const REFRESHING: &str = r##"fill="#f76707""##;
const WAITING: &str = r##"fill="#ced4da""##;
const SENT: &str = r##"fill="#4dabf7""##;
const SUCCEEDED: &str = r##"fill="#8ce99a""##;
const RENEWED: &str = r##"stroke="#f76707" stroke-width="1.5" stroke-dasharray="4 3""##;
const GRID: &str = r##"stroke="#e9ecef""##;

pub(crate) fn draw(parts: &[Part]) -> String {
    let mut canvas = Canvas::default();
    canvas.y = 36.0;
    canvas.text((MARGIN, canvas.y), "title", TITLE);
    canvas.y += 28.0;
    legend(&mut canvas);
    for part in parts {
        canvas.y += 20.0;
        panel(&mut canvas, part);
    }
    canvas.y += 14.0;
    canvas.finish(TITLE)
}

fn legend(canvas: &mut Canvas) {
    let y = canvas.y;
    let mut x = MARGIN;
    for (style, text, width) in [
        (REFRESHING, "a refresh", 64.0),
        (WAITING, "waits for a refresh", 122.0),
        (SENT, "a call under way", 108.0),
    ] {
        canvas.rect((x, y - 10.0), (BAR, 11.0), style);
        canvas.text((x + 20.0, y), "", text);
        x += 20.0 + width + 24.0;
    }
    canvas.line((x + 7.0, y - 12.0), (x + 7.0, y + 3.0), RENEWED);
    canvas.text((x + 20.0, y), "", "the new token is there");
    x += 20.0 + 142.0 + 24.0;
    for (is_good, text) in [(true, "succeeded"), (false, "failed")] {
        canvas.verdict((x + 6.0, y - 4.5), is_good);
        canvas.text((x + 20.0, y), "", text);
        x += 112.0;
    }
}

fn panel(canvas: &mut Canvas, part: &Part) {
    let entries = part.timeline.entries();
    let scale = Scale { span: entries.iter().map(|entry| entry.at).max().unwrap_or_default() };
    canvas.line((MARGIN, canvas.y - 10.0), (WIDTH - MARGIN, canvas.y - 10.0), GRID);
    canvas.y += 12.0;
    canvas.text((MARGIN, canvas.y), "part", part.title);
    canvas.y += 18.0;
    canvas.text((MARGIN, canvas.y), "tally", &part.tally.to_string());
    canvas.y += 16.0;
    canvas.text((MARGIN, canvas.y), "small", part.caption);
    canvas.y += 12.0;

    let top = canvas.y;
    let is_crowd = entries.iter().any(|entry| entry.who == Who::Crowd);
    let rows = usize::from(part.is_layered) + if is_crowd { 0 } else { CALLS.len() };
    let height = rows as f64 * ROW + if is_crowd { CROWD + 16.0 } else { 0.0 };
    axis(canvas, scale, height);
    if part.is_layered {
        let refresh = bars::row(&entries, |who| matches!(who, Who::Refresher | Who::Session));
        if let Some(outcome) = &refresh.outcome {
            let x = scale.place(outcome.at);
            canvas.line((x, top), (x, top + height), RENEWED);
        }
        row(canvas, scale, "the one refresh", &refresh);
    }
    if is_crowd {
        crowd(canvas, scale, &entries);
    } else {
        for (number, call) in CALLS.iter().enumerate() {
            row(canvas, scale, &call.to_string(), &bars::row(&entries, |who| who == Who::Call(number)));
        }
    }
    canvas.y = top + height + 22.0;
}

/// Draws upright lines, with their times beneath.
fn axis(canvas: &mut Canvas, scale: Scale, height: f64) {
    let (top, bottom) = (canvas.y, canvas.y + height);
    let span = scale.span.as_secs_f64() * 1000.0;
    let step = tick(span);
    let mut ms = 0.0;
    while ms <= span {
        let x = scale.place(Duration::from_secs_f64(ms / 1000.0));
        canvas.line((x, top), (x, bottom), GRID);
        let digits = usize::from(step < 1.0);
        canvas.text((x, bottom + 14.0), "middle", &format!("{ms:.digits$} ms"));
        ms += step;
    }
}

fn row(canvas: &mut Canvas, scale: Scale, label: &str, row: &Row) {
    let middle = canvas.y + ROW / 2.0;
    canvas.text((MARGIN, middle + 4.5), "", label);
    for bar in &row.bars {
        let (from, to) = (scale.place(bar.from), scale.place(bar.to));
        let style = match bar.kind {
            Kind::Refreshing => REFRESHING,
            Kind::Waiting => WAITING,
            Kind::Sent => SENT,
        };
        // What is too short to be seen is drawn nevertheless.
        canvas.rect((from, middle - BAR / 2.0), ((to - from).max(2.0), BAR), style);
    }
    if let Some(outcome) = &row.outcome {
        canvas.verdict((scale.place(outcome.at), middle), outcome.is_good);
        let class = if outcome.is_good { "good" } else { "bad" };
        canvas.text((OUTCOMES, middle + 4.5), class, &outcome.text);
    }
    canvas.y += ROW;
}

/// Draws how many wait, and how many have succeeded.
fn crowd(canvas: &mut Canvas, scale: Scale, entries: &[Entry]) {
    let curves = bars::curves(entries);
    let (top, bottom) = (canvas.y + 12.0, canvas.y + 12.0 + CROWD);
    let height = |callers: usize| bottom - CROWD * callers as f64 / curves.callers.max(1) as f64;
    let place = |(at, callers): &(Duration, usize)| (scale.place(*at), height(*callers));
    canvas.polygon(&curves.waiting.iter().map(place).collect::<Vec<_>>(), WAITING);
    let mut succeeded: Vec<_> = curves.succeeded.iter().map(place).collect();
    succeeded.extend(succeeded.last().map(|(x, _)| (*x, bottom)));
    canvas.polygon(&succeeded, SUCCEEDED);

    let callers = grouped(curves.callers);
    canvas.text((MARGIN, top + 10.0), "", &format!("{callers} calls:"));
    canvas.text((MARGIN, top + 28.0), "small", "how many wait (grey)");
    canvas.text((MARGIN, top + 42.0), "small", "and have succeeded (green)");
    if let Some((at, last)) = curves.succeeded.last() {
        let is_good = *last == curves.callers;
        canvas.verdict((scale.place(*at), height(*last)), is_good);
        let class = if is_good { "good" } else { "bad" };
        canvas.text((OUTCOMES, height(*last) + 4.5), class, &format!("{} succeeded", grouped(*last)));
    }
}

/// The distance of ticks, 1, 2 or 5 times a power of ten, for at most eight of them.
fn tick(span: f64) -> f64 {
    let mut step = 0.1;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(24) {
        if span / step <= 8.0 {
            break;
        }
        step *= factor;
    }
    step
}

// === impl Scale ===

impl Scale {
    fn place(self, at: Duration) -> f64 {
        let part = at.as_secs_f64() / self.span.as_secs_f64().max(f64::MIN_POSITIVE);
        PLOT.0 + (PLOT.1 - PLOT.0) * part
    }
}
