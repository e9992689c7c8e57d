//! A minimal SVG writer.

use std::fmt::Write as _;

/// A picture that grows downwards.
#[derive(Default)]
pub(super) struct Canvas {
    body: String,
    pub(super) y: f64,
}

pub(super) const WIDTH: f64 = 900.0;

// === impl Canvas ===

impl Canvas {
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), style: &str) {
        self.push(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" {style}/>"#
        ));
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), style: &str) {
        self.push(format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#));
    }

    /// Writes text whose baseline starts at the point. `class` is one of the classes in
    /// [`finish`](Self::finish).
    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.push(format_args!(r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#));
    }

    pub(super) fn polygon(&mut self, points: &[(f64, f64)], style: &str) {
        let mut list = String::new();
        for (x, y) in points {
            write!(list, "{x:.1},{y:.1} ").expect("writing to a string can't fail");
        }
        self.push(format_args!(r#"<polygon points="{}" {style}/>"#, list.trim_end()));
    }

    /// Draws a tick or a cross in a disc. It is drawn as fonts differ in these symbols.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), is_good: bool) {
        let (colour, path) = match is_good {
            true => ("#2b8a3e", "m-3.4 0.2 2.4 2.6 4.4-5.2"),
            false => ("#c92a2a", "m-2.8-2.8 5.6 5.6m0-5.6-5.6 5.6"),
        };
        self.push(format_args!(
            r##"<g transform="translate({x:.1} {y:.1})"><circle r="7" fill="{colour}" stroke="#fff"/><path d="{path}" fill="none" stroke="#fff" stroke-width="1.8"/></g>"##
        ));
    }

    /// The whole picture. It sets its colours, so that it is readable on a dark page, too.
    pub(super) fn finish(self, title: &str) -> String {
        let (body, height) = (self.body, self.y);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" role="img">
<title>{title}</title>
<style>
text {{ font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #343a40 }}
.title {{ font-size: 18px; font-weight: 600 }}
.run {{ font-size: 14px; font-weight: 600 }}
.small {{ font-size: 11px; fill: #868e96 }}
.middle {{ font-size: 11px; fill: #868e96; text-anchor: middle }}
.totals {{ font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #495057 }}
.good {{ fill: #2b8a3e }}
.bad {{ fill: #c92a2a }}
</style>
<rect x="0.5" y="0.5" width="{:.0}" height="{:.0}" rx="8" fill="#fff" stroke="#dee2e6"/>
{body}</svg>
"##,
            WIDTH - 1.0,
            height - 1.0,
        )
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("writing to a string can't fail");
    }
}
