//! `reflow-entrypoint [--data FOLDER] PROGRAM [ARGUMENT…]`: what the images start first.
//!
//! A folder that Docker makes for a bind mount belongs to root, and the images have no shell to change that. So this
//! program, as root, gives the mounted folder to the service's own user, becomes that user for good, makes sure that
//! the folder can be written, and then *becomes* the service (`exec`: the same process, so that signals reach it).
//!
//! It is a program of its own so that whatever runs with root's rights can be read in three small files, and so that no
//! thread exists while they are held: user and capabilities are properties of a thread. Started as anybody else than root
//! (`--user`, `runAsNonRoot`), it changes no owner and no user.

mod data;
mod mounts;
mod rights;

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use rustix::process::{getgid, getuid};

/// The service's user and group. High enough to be no person's, and the same in every image and in the chart.
const SERVICE: u32 = 10_001;

/// The exit codes of the services: the start failed.
const FAILED: u8 = 1;
/// The exit codes of the services: wrong usage.
const USAGE: u8 = 2;

struct Arguments {
    data: Option<PathBuf>,
    program: OsString,
    rest: Vec<OsString>,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(env::args_os().skip(1)) else {
        eprintln!("usage: reflow-entrypoint [--data FOLDER] PROGRAM [ARGUMENT…]");
        return ExitCode::from(USAGE);
    };
    if let Err(reason) = prepare(&arguments) {
        eprintln!("reflow-entrypoint: {reason}");
        return ExitCode::from(FAILED);
    }
    let error = Command::new(&arguments.program).args(&arguments.rest).exec();
    eprintln!("reflow-entrypoint: cannot start {}: {error}", arguments.program.display());
    ExitCode::from(FAILED)
}

/// Everything before the service: the folder, the rights, the check.
fn prepare(arguments: &Arguments) -> Result<(), String> {
    // What is not mounted is a part of the image: nobody's data, and for a read-only container not writable on purpose.
    let data = arguments.data.as_deref().filter(|folder| mounts::is_mounted(folder));
    let mut taking = Ok(0);
    if getuid().is_root() {
        if let Some(folder) = data {
            taking = data::take_over(folder, SERVICE);
        }
        rights::become_user(SERVICE).map_err(|error| {
            format!(
                "cannot become user {SERVICE}: {error}; start the container as that user (docker run --user \
                 {SERVICE}:{SERVICE}), or leave it the capabilities SETUID and SETGID"
            )
        })?;
    }
    rights::drop_capabilities().map_err(|error| format!("cannot drop the capabilities: {error}"))?;
    if let (Some(folder), Ok(changed @ 1..)) = (data, &taking) {
        eprintln!("reflow-entrypoint: {}: {changed} owners changed to {SERVICE}", folder.display());
    }
    match data {
        Some(folder) => data::check(folder).map_err(|problem| {
            let (user, group) = (getuid().as_raw(), getgid().as_raw());
            problem.advice(folder, user, group, taking.err())
        }),
        None => Ok(()),
    }
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Arguments> {
    let mut first = words.next()?;
    let mut data = None;
    if first == "--data" {
        data = Some(PathBuf::from(words.next()?));
        first = words.next()?;
    }
    // A flag here would be a misspelt one of ours; programs begin with no dash.
    (!first.as_encoded_bytes().starts_with(b"-")).then(|| Arguments { data, program: first, rest: words.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(Option<PathBuf>, OsString, usize)> {
        parse(line.split_whitespace().map(OsString::from)).map(|found| (found.data, found.program, found.rest.len()))
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        assert_eq!(parsed("/bin/x --data /y"), Some((None, "/bin/x".into(), 2)));
        assert_eq!(parsed("--data /data /bin/x --health"), Some((Some("/data".into()), "/bin/x".into(), 1)));
    }

    #[test]
    fn a_line_without_a_program_is_refused() {
        for line in ["", "--data", "--data /data", "--dta /data /bin/x"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
