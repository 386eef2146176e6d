//! The figures beside their bounds and goals, as a table and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::meter::Rate;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Nothing: it is told for what it is.
    None,
    /// At least so much of its bound.
    OfBound(f64),
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub bound: Option<f64>,
    pub goal: Goal,
    /// Events a second of wall time.
    pub wall: Option<f64>,
    pub note: String,
}

/// Everything measured in this run.
#[derive(Default)]
pub struct Report {
    parts: BTreeMap<&'static str, Rate>,
    figures: Vec<Figure>,
}

impl Figure {
    /// A figure without bound and goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, bound: None, goal: Goal::None, wall: None, note: String::new() }
    }

    /// A rate: events per CPU-second, and per second beside it.
    pub fn rate(name: impl Into<String>, rate: &Rate) -> Self {
        Self { wall: Some(rate.per_second()), ..Self::new(name, rate.per_cpu(), "events/CPU-s") }
    }

    pub fn goal(self, goal: Goal) -> Self {
        Self { goal, ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    pub fn bound(self, bound: Option<f64>) -> Self {
        Self { bound, ..self }
    }

    /// How the figure stands to its goal, 1.0 or more being a pass; `None` when that cannot be told.
    fn ratio(&self) -> Option<f64> {
        match self.goal {
            Goal::None => None,
            Goal::OfBound(share) => Some(self.value / self.bound? / share),
            Goal::AtLeast(least) => Some(self.value / least),
            Goal::AtMost(most) => Some(most / self.value),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::OfBound(share) => format!("≥ {share} of bound"),
            Goal::AtLeast(least) => format!("≥ {}", number(least)),
            Goal::AtMost(most) => format!("≤ {}", number(most)),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.goal, self.ratio()) {
            (Goal::None, _) => "",
            (_, None) => "no bound",
            (_, Some(ratio)) if ratio >= 1.0 => "pass",
            _ => "MISS",
        }
    }
}

impl Report {
    /// Keeps a part's rate for the bounds, and tells it.
    pub fn part(&mut self, name: &'static str, rate: Rate) {
        self.parts.insert(name, rate);
        self.figure(Figure::rate(name, &rate));
    }

    /// 1 ÷ Σ (1 / rate of each part); `None` while a part was not measured in this run.
    pub fn bound(&self, parts: &[&str]) -> Option<f64> {
        let costs = parts.iter().map(|part| Some(1.0 / self.parts.get(part)?.per_cpu())).collect::<Option<Vec<_>>>()?;
        Some(1.0 / costs.iter().sum::<f64>())
    }

    /// Keeps a figure, and shows that there is progress.
    pub fn figure(&mut self, figure: Figure) {
        eprintln!("  {:<58} {:>12} {:<13} {}", figure.name, number(figure.value), figure.unit, figure.note);
        self.figures.push(figure);
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("\nmachine: {}", machine());
        println!(
            "rates are events per CPU-second of all processes involved, the client included; `bound` is what the parts allow\n"
        );
        println!(
            "{:<58} {:>12} {:<13} {:>11} {:>9} {:>9} {:<15} {:>6} {:<8} note",
            "figure", "value", "unit", "events/s", "bound", "of bound", "goal", "ratio", ""
        );
        for figure in &self.figures {
            let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
            println!(
                "{:<58} {:>12} {:<13} {:>11} {:>9} {:>9} {:<15} {:>6} {:<8} {}",
                figure.name,
                number(figure.value),
                figure.unit,
                optional(figure.wall),
                optional(figure.bound),
                figure.bound.map(|bound| format!("{:.2}", figure.value / bound)).unwrap_or_default(),
                figure.goal_text(),
                figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                figure.verdict(),
                figure.note
            );
        }
    }

    /// Writes the figures as JSON.
    pub fn write(&self, file: &Path) -> Result<()> {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                json!({
                    "name": figure.name,
                    "value": figure.value,
                    "unit": figure.unit,
                    "events_per_second": figure.wall,
                    "bound": figure.bound,
                    "goal": figure.goal_text(),
                    "ratio": figure.ratio(),
                    "verdict": figure.verdict(),
                    "note": figure.note,
                })
            })
            .collect();
        let text = serde_json::to_string_pretty(&json!({"machine": machine(), "figures": figures}))?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e5 => format!("{:.0}k", value / 1e3),
        large if large >= 1e3 => format!("{:.1}k", value / 1e3),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    format!("{cores} cores, {}", model.unwrap_or("unknown processor"))
}
