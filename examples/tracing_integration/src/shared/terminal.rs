//! What a person sees: colours only on a terminal, progress bars only there, and output that can fail.
//!
//! Everything is written with `writeln!` into [`stdout`], never with `println!`, which panics once the reader is gone. `NO_COLOR`
//! and `CLICOLOR_FORCE` are obeyed.

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::presets;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};

/// A heading.
pub const HEAD: Style = Style::new().bold();
/// Something went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Worth a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// A name.
pub const NAME: Style = AnsiColor::Cyan.on_default();
/// Less important than what stands beside it.
pub const DIM: Style = Style::new().dimmed();

/// Standard output, without colours unless it is a terminal.
pub fn stdout() -> anstream::Stdout {
    anstream::stdout()
}

/// Standard error, likewise.
pub fn stderr() -> anstream::Stderr {
    anstream::stderr()
}

/// A progress bar for `total` steps on standard error; invisible where that is no terminal.
pub fn progress(total: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
    let bar = ProgressBar::new(total).with_message(what);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// The same for work whose end nobody knows.
pub fn spinner(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {human_pos} {elapsed}");
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// A table without lines, whose columns from `first_number` on are numbers.
pub fn table(heads: &[&str], first_number: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index >= first_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Writes a table with its head in bold.
///
/// # Errors
/// When nobody reads any more.
pub fn write_table(out: &mut impl Write, table: &Table) -> std::io::Result<()> {
    for (index, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match index {
            0 => writeln!(out, "{HEAD}{line}{HEAD:#}")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}
