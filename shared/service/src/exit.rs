//! How a program ends. The exit code tells an operator, or a script, which way it went.

use std::process::ExitCode;

/// The ways a program ends, each with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: asked to stop, and everything was drained.
    Clean,
    /// 1: the start failed (port taken, store of a newer version), or `--health` found the service not ready.
    Failed,
    /// 2: usage or configuration is wrong; nothing was started.
    Usage,
    /// 3: asked to stop, but something was cut off: a deadline passed, or a second signal came.
    Cut,
    /// 70: a part of the service ended or panicked while it should have run (`EX_SOFTWARE` of `sysexits.h`).
    Crash,
}

impl Exit {
    /// The number that the operating system gets.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Cut => 3,
            Self::Crash => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
