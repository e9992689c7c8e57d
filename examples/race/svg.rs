//! Draws the timelines: time runs from left to right, and each call has a row.

mod bars;
mod canvas;

use std::time::Duration;

use crate::{
    api::CALLS,
    counts::Run,
    timeline::{Entry, Who, grouped},
};

use self::{
    bars::{Kind, Row},
    canvas::{Canvas, WIDTH},
};

/// Converts times to x coordinates.
#[derive(Clone, Copy)]
struct Scale {
    span: Duration,
}

const TITLE: &str = "The access token has expired, and all calls are made at once";
const MARGIN: f64 = 24.0;
const PLOT: (f64, f64) = (186.0, 664.0);
const OUTCOMES: f64 = 690.0;
const ROW: f64 = 28.0;
const BAR: f64 = 14.0;
const CHART: f64 = 84.0;

const REFRESHING: &str = r##"fill="#f76707""##;
const WAITING: &str = r##"fill="#ced4da""##;
const SENT: &str = r##"fill="#4dabf7""##;
const SUCCEEDED: &str = r##"fill="#8ce99a""##;
const NEW_TOKEN: &str = r##"stroke="#f76707" stroke-width="1.5" stroke-dasharray="4 3""##;
const GRID: &str = r##"stroke="#e9ecef""##;

pub(crate) fn draw(runs: &[Run]) -> String {
    let mut canvas = Canvas::default();
    canvas.y = 36.0;
    canvas.text((MARGIN, canvas.y), "title", TITLE);
    canvas.y += 28.0;
    legend(&mut canvas);
    for run in runs {
        canvas.y += 20.0;
        panel(&mut canvas, run);
    }
    canvas.y += 14.0;
    canvas.finish(TITLE)
}

fn legend(canvas: &mut Canvas) {
    let y = canvas.y;
    let mut x = MARGIN;
    for (style, text, width) in [
        (REFRESHING, "a refresh", 64.0),
        (WAITING, "waiting for a refresh", 130.0),
        (SENT, "a request in progress", 130.0),
    ] {
        canvas.rect((x, y - 10.0), (BAR, 11.0), style);
        canvas.text((x + 20.0, y), "", text);
        x += 20.0 + width + 24.0;
    }
    canvas.line((x + 7.0, y - 12.0), (x + 7.0, y + 3.0), NEW_TOKEN);
    canvas.text((x + 20.0, y), "", "new token");
    x += 20.0 + 66.0 + 24.0;
    for (is_good, text) in [(true, "succeeded"), (false, "failed")] {
        canvas.mark((x + 6.0, y - 4.5), is_good);
        canvas.text((x + 20.0, y), "", text);
        x += 112.0;
    }
}

fn panel(canvas: &mut Canvas, run: &Run) {
    let entries = run.timeline.entries();
    let scale = Scale { span: entries.iter().map(|entry| entry.at).max().unwrap_or_default() };
    canvas.line((MARGIN, canvas.y - 10.0), (WIDTH - MARGIN, canvas.y - 10.0), GRID);
    canvas.y += 12.0;
    canvas.text((MARGIN, canvas.y), "run", run.title);
    canvas.y += 18.0;
    canvas.text((MARGIN, canvas.y), "totals", &run.totals.to_string());
    canvas.y += 16.0;
    canvas.text((MARGIN, canvas.y), "small", run.caption);
    canvas.y += 12.0;

    let top = canvas.y;
    let has_chart = entries.iter().any(|entry| entry.who == Who::Callers);
    let rows = usize::from(run.is_layered) + if has_chart { 0 } else { CALLS.len() };
    let height = rows as f64 * ROW + if has_chart { CHART + 16.0 } else { 0.0 };
    axis(canvas, scale, height);
    if run.is_layered {
        let refresh = bars::row(&entries, |who| matches!(who, Who::Refresher | Who::Session));
        if let Some(outcome) = &refresh.outcome {
            let x = scale.x(outcome.at);
            canvas.line((x, top), (x, top + height), NEW_TOKEN);
        }
        row(canvas, scale, "refresh", &refresh);
    }
    if has_chart {
        chart(canvas, scale, &entries);
    } else {
        for (number, call) in CALLS.iter().enumerate() {
            row(canvas, scale, &call.to_string(), &bars::row(&entries, |who| who == Who::Call(number)));
        }
    }
    canvas.y = top + height + 22.0;
}

/// Draws vertical lines, labelled with their times.
fn axis(canvas: &mut Canvas, scale: Scale, height: f64) {
    let (top, bottom) = (canvas.y, canvas.y + height);
    let span = scale.span.as_secs_f64() * 1000.0;
    let step = tick(span);
    let mut ms = 0.0;
    while ms <= span {
        let x = scale.x(Duration::from_secs_f64(ms / 1000.0));
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
        let (from, to) = (scale.x(bar.from), scale.x(bar.to));
        let style = match bar.kind {
            Kind::Refreshing => REFRESHING,
            Kind::Waiting => WAITING,
            Kind::Sent => SENT,
        };
        // Keep very short bars visible.
        canvas.rect((from, middle - BAR / 2.0), ((to - from).max(2.0), BAR), style);
    }
    if let Some(outcome) = &row.outcome {
        canvas.mark((scale.x(outcome.at), middle), outcome.is_good);
        let class = if outcome.is_good { "good" } else { "bad" };
        canvas.text((OUTCOMES, middle + 4.5), class, &outcome.text);
    }
    canvas.y += ROW;
}

/// Draws how many callers are waiting, and how many have succeeded.
fn chart(canvas: &mut Canvas, scale: Scale, entries: &[Entry]) {
    let curves = bars::curves(entries);
    let (top, bottom) = (canvas.y + 12.0, canvas.y + 12.0 + CHART);
    let height = |callers: usize| bottom - CHART * callers as f64 / curves.callers.max(1) as f64;
    let point = |(at, callers): &(Duration, usize)| (scale.x(*at), height(*callers));
    canvas.polygon(&curves.waiting.iter().map(point).collect::<Vec<_>>(), WAITING);
    let mut succeeded: Vec<_> = curves.succeeded.iter().map(point).collect();
    succeeded.extend(succeeded.last().map(|(x, _)| (*x, bottom)));
    canvas.polygon(&succeeded, SUCCEEDED);

    let callers = grouped(curves.callers);
    canvas.text((MARGIN, top + 10.0), "", &format!("{callers} calls:"));
    canvas.text((MARGIN, top + 28.0), "small", "waiting (grey)");
    canvas.text((MARGIN, top + 42.0), "small", "succeeded (green)");
    if let Some((at, last)) = curves.succeeded.last() {
        let is_good = *last == curves.callers;
        canvas.mark((scale.x(*at), height(*last)), is_good);
        let class = if is_good { "good" } else { "bad" };
        canvas.text((OUTCOMES, height(*last) + 4.5), class, &format!("{} succeeded", grouped(*last)));
    }
}

/// The distance between ticks: 1, 2 or 5 times a power of ten, for at most eight ticks.
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
    fn x(self, at: Duration) -> f64 {
        let fraction = at.as_secs_f64() / self.span.as_secs_f64().max(f64::MIN_POSITIVE);
        PLOT.0 + (PLOT.1 - PLOT.0) * fraction
    }
}
