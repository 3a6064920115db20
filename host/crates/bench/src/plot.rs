//! The tables as plots: small SVGs that stand on their own.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::{deadlines, elastic, isolation, sharing, victim};

/// By policy or class, in this order: colours that are told apart without colour vision too (Okabe and Ito 2008).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// Width of all plots.
const WIDTH: f64 = 760.0;

/// Writes a plot into a directory.
pub(super) fn write(directory: &Path, name: &str, svg: &str) -> anyhow::Result<()> {
    let path = directory.join(format!("{name}.svg"));
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, svg))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A drawing under way.
struct Svg(String);

#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes what is written");
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.element(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#
        ));
    }

    fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.line(from, to, r##"stroke="#8888" stroke-width="0.5""##);
    }

    /// Names in their colours, in a row.
    fn legend<'a>(&mut self, y: f64, names: impl Iterator<Item = &'a str>) {
        let mut x = 170.0;
        for (name, colour) in names.zip(COLOURS.iter().cycle()) {
            self.element(format_args!(
                r#"<circle cx="{x:.1}" cy="{:.1}" r="5" fill="{colour}"/>"#,
                y - 4.0
            ));
            self.text(x + 10.0, y, Anchor::Start, name);
            x += 30.0 + 7.0 * count(name.len());
        }
    }

    fn finish(self, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.0
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "there are few of anything that is drawn")]
fn count(number: usize) -> f64 {
    number as f64
}

/// For each neighbour and policy a line from the median to the p99.9, with a dot at the p99, over a logarithmic scale.
pub(super) fn isolation(measured: &isolation::Measured) -> String {
    const LEFT: f64 = 160.0;
    const ROW: f64 = 26.0;
    const TOP: f64 = 70.0;
    /// Powers of ten in µs, from 10 µs to 100 s.
    const DECADES: std::ops::RangeInclusive<i32> = 1..=8;
    let x = |us: f64| {
        let decades = f64::from(DECADES.end() - DECADES.start());
        LEFT + (us.max(10.0).log10() - f64::from(*DECADES.start())) / decades * (WIDTH - LEFT - 20.0)
    };
    let names = measured.policy.first().map(|(_, column)| &column.beside);
    let rows = 1 + names.map_or(0, Vec::len);
    let bottom = TOP + ROW * count(rows);
    let mut svg = Svg(String::new());
    let title = format!(
        "Latency of a victim: p50, p99 (dot) and p99.9; workers: {}",
        measured.workers
    );
    svg.text(LEFT, 20.0, Anchor::Start, &title);
    svg.legend(42.0, measured.policy.iter().map(|(policy, _)| policy.as_str()));
    for decade in DECADES {
        let us = 10_f64.powi(decade);
        svg.grid((x(us), TOP), (x(us), bottom));
        let label = match decade {
            ..3 => format!("{us} µs"),
            3..6 => format!("{} ms", us / 1e3),
            _ => format!("{} s", us / 1e6),
        };
        svg.text(x(us), bottom + 16.0, Anchor::Middle, &label);
    }
    for ((_, column), colour) in measured.policy.iter().zip(COLOURS).take(1) {
        let bound = x(victim::p99_bound_us(&column.alone));
        let style = format!(r#"stroke="{colour}" stroke-dasharray="4 3""#);
        svg.line((bound, TOP), (bound, bottom), &style);
    }
    for row in 0..rows {
        let middle = TOP + ROW * (count(row) + 0.5);
        let mut name = "alone";
        for (index, ((_, column), colour)) in measured.policy.iter().zip(COLOURS).enumerate() {
            let cell = match row.checked_sub(1).and_then(|row| column.beside.get(row)) {
                Some((beside, cell)) => {
                    name = beside;
                    cell
                }
                None => &column.alone,
            };
            let y = middle + 7.0 * (count(index) - (count(measured.policy.len()) - 1.0) / 2.0);
            let style = format!(r#"stroke="{colour}" stroke-width="3""#);
            svg.line((x(cell.p50_us), y), (x(cell.p999_us.unwrap_or(cell.p99_us)), y), &style);
            svg.element(format_args!(
                r#"<circle cx="{:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#,
                x(cell.p99_us)
            ));
        }
        svg.text(LEFT - 8.0, middle + 4.0, Anchor::End, name);
    }
    svg.finish(bottom + 30.0, &title)
}

/// For each number of actors a bar per tenant, with a mark at the fair share.
pub(super) fn sharing(measured: &sharing::Measured) -> String {
    const LEFT: f64 = 160.0;
    const BAR: f64 = 14.0;
    const TOP: f64 = 70.0;
    let x = |share: f64| LEFT + share * (WIDTH - LEFT - 20.0);
    let mut svg = Svg(String::new());
    let title = format!(
        "Shares of three greedy tenants, and the fair ones (mark); workers: {}",
        measured.workers
    );
    svg.text(LEFT, 20.0, Anchor::Start, &title);
    svg.legend(42.0, ["weight 1", "weight 2", "weight 4"].into_iter());
    let mut y = TOP;
    for shared in &measured.sharing {
        let label = format!("{}, actors: {}", shared.policy, shared.actors);
        svg.text(LEFT - 8.0, y + 1.5 * BAR + 4.0, Anchor::End, &label);
        for (tenant, colour) in shared.tenants.iter().zip(COLOURS) {
            svg.element(format_args!(
                r#"<rect x="{LEFT:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{colour}"/>"#,
                x(tenant.share) - LEFT,
                BAR - 2.0
            ));
            let fair = x(tenant.fair_share);
            svg.line((fair, y - 2.0), (fair, y + BAR), r##"stroke="#000" stroke-width="2""##);
            y += BAR;
        }
        y += BAR;
    }
    for percent in [0, 25, 50, 75, 100] {
        let at = x(f64::from(percent) / 100.0);
        svg.grid((at, TOP - 6.0), (at, y));
        svg.text(at, y + 16.0, Anchor::Middle, &format!("{percent} %"));
    }
    svg.finish(y + 30.0, &title)
}

/// For each policy a line of the share of targets met over the load: of tight targets in full, of loose ones dashed.
pub(super) fn deadlines(measured: &deadlines::Measured) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 70.0;
    const BOTTOM: f64 = 340.0;
    let loads = measured.deadlines.iter().map(|met| met.load);
    let most = loads.fold(0.1, f64::max);
    let x = |load: f64| LEFT + load / most * (WIDTH - LEFT - 20.0);
    let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    let mut svg = Svg(String::new());
    let title = format!(
        "Events within a target of 5 ms (full lines) and of 200 ms (dashed), over the load; workers: {}",
        measured.workers
    );
    svg.text(LEFT, 20.0, Anchor::Start, &title);
    let mut policies: Vec<&str> = measured.deadlines.iter().map(|met| met.policy.as_str()).collect();
    policies.sort_unstable();
    policies.dedup();
    svg.legend(42.0, policies.iter().copied());
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        svg.grid((LEFT, at), (WIDTH - 20.0, at));
        svg.text(LEFT - 8.0, at + 4.0, Anchor::End, &format!("{percent} %"));
    }
    for (policy, colour) in policies.iter().zip(COLOURS) {
        let own = || measured.deadlines.iter().filter(|met| met.policy == *policy);
        let mut draw = |share: fn(&deadlines::TargetsMet) -> f64, dashes: &str| {
            let points: Vec<String> = own()
                .map(|met| format!("{:.1},{:.1}", x(met.load), y(share(met))))
                .collect();
            svg.element(format_args!(
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" {dashes}/>"#,
                points.join(" ")
            ));
        };
        draw(|met| met.tight, "");
        draw(|met| met.loose, r#"stroke-dasharray="5 4""#);
    }
    for met in measured.deadlines.iter().filter(|met| met.policy == policies[0]) {
        svg.text(x(met.load), BOTTOM + 16.0, Anchor::Middle, &format!("{}", met.load));
    }
    svg.finish(BOTTOM + 30.0, &title)
}

/// Over time: the offered load and the replicas as parts of their highest, and the p99 on a logarithmic scale.
pub(super) fn elastic(step: &elastic::Step) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 70.0;
    const MIDDLE: f64 = 200.0;
    const BOTTOM: f64 = 340.0;
    /// Powers of ten in µs, from 100 µs to 10 s.
    const DECADES: std::ops::RangeInclusive<i32> = 2..=7;
    let moments = &step.timeline;
    let end_s = moments.last().map_or(1.0, |moment| moment.at_s).max(0.1);
    let x = |at_s: f64| LEFT + at_s / end_s * (WIDTH - LEFT - 20.0);
    let offered_max = moments.iter().map(|moment| moment.offered_per_s).fold(1.0, f64::max);
    let executors_max = f64::from(moments.iter().map(|moment| moment.executors).max().unwrap_or(1).max(1));
    let share = |share: f64| MIDDLE - 20.0 - share * (MIDDLE - 20.0 - TOP);
    let latency = |us: f64| {
        let decades = f64::from(DECADES.end() - DECADES.start());
        let part = (us.max(100.0).log10() - f64::from(*DECADES.start())) / decades;
        BOTTOM - part.min(1.0) * (BOTTOM - MIDDLE)
    };
    let mut svg = Svg(String::new());
    let title = format!(
        "{}, scaling {}: offered load, replicas and p99 over time; workers: {}",
        step.shape, step.scaling, step.workers
    );
    svg.text(LEFT, 20.0, Anchor::Start, &title);
    svg.legend(42.0, ["offered load", "replicas", "p99"].into_iter());
    svg.text(LEFT - 8.0, share(1.0) + 4.0, Anchor::End, &format!("{executors_max}"));
    for decade in DECADES {
        let us = 10_f64.powi(decade);
        svg.grid((LEFT, latency(us)), (WIDTH - 20.0, latency(us)));
        let label = match decade {
            ..6 => format!("{} ms", us / 1e3),
            _ => format!("{} s", us / 1e6),
        };
        svg.text(LEFT - 8.0, latency(us) + 4.0, Anchor::End, &label);
    }
    let mut draw = |y: &dyn Fn(&elastic::Moment) -> f64, colour: &str| {
        let points: Vec<String> = moments
            .iter()
            .map(|moment| format!("{:.1},{:.1}", x(moment.at_s), y(moment)))
            .collect();
        svg.element(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            points.join(" ")
        ));
    };
    draw(&|moment| share(moment.offered_per_s / offered_max), COLOURS[0]);
    draw(&|moment| share(f64::from(moment.executors) / executors_max), COLOURS[1]);
    draw(&|moment| latency(moment.p99_us), COLOURS[2]);
    #[allow(clippy::cast_possible_truncation, reason = "a step lasts seconds")]
    for second in 0..=end_s as i32 {
        svg.text(
            x(f64::from(second)),
            BOTTOM + 16.0,
            Anchor::Middle,
            &format!("{second} s"),
        );
    }
    svg.finish(BOTTOM + 30.0, &title)
}
