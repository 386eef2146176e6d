//! What the kernel knows of a process and does to it: `/proc`, and signals.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Whether a process with this id runs: a zombie does not.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

pub(super) fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own `kill`: sending signals from Rust needs unsafe code or one more crate, and `/bin/kill` is not on
    // every Debian.
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {name} {pid}")])
        .stderr(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("kill -s {name} {pid}: code {:?}, signal {:?}", status.code(), status.signal());
    }
    Ok(())
}

/// The fields of `/proc/<pid>/stat` behind the name, which may itself hold blanks and brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

pub(super) fn state(pid: u32) -> Option<char> {
    stat_fields(pid)?.first()?.chars().next()
}

/// proc(5): utime, stime, cutime, cstime are fields 14 to 17, counted from 1, and the state is field 3.
pub(super) fn cpu_ticks(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

pub(super) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, stat_fields(pid)?.get(1)?.parse::<u32>().ok()?)))
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family.split_off(1)
}

pub(super) fn status_line(pid: u32, key: &str) -> Result<u64> {
    kibibytes(&format!("/proc/{pid}/status"), key)
}

/// Resident memory, of which what is shared counts in parts with those who share it.
pub(super) fn proportional_bytes(pid: u32) -> Result<u64> {
    kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kibibytes(file: &str, key: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file).context("the process has ended")?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .with_context(|| format!("no {key} in {file}"))
}
