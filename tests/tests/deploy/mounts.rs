//! Mounts that only one process tree sees, as a container engine makes them; they are gone when it is.

use std::path::Path;

use reflow_tracing_tests::process::Spec;

/// What is mounted where, in order.
#[derive(Debug, Clone, Default)]
pub struct Mounts(String);

impl Mounts {
    /// Shows `from` at `to` as well, with what is mounted below it.
    #[must_use]
    pub fn bind(mut self, from: &Path, to: &Path) -> Self {
        self.0 += &format!("mount --rbind {} {}\n", quoted(from), quoted(to));
        self
    }

    /// What is mounted there cannot be written from here on.
    #[must_use]
    pub fn read_only(mut self, at: &Path) -> Self {
        self.0 += &format!("mount -o remount,bind,ro {}\n", quoted(at));
        self
    }

    /// Any other step, in the shell's words.
    #[must_use]
    pub fn step(mut self, line: &str) -> Self {
        self.0 += line;
        self.0.push('\n');
        self
    }

    /// A process that works in `folder`, does the mounts and then becomes what the arguments say that are added to it.
    pub fn spec(&self, folder: &Path) -> Spec {
        Spec::new("unshare", folder)
            .args(["--mount", "--propagation", "private", "--", "sh", "-ec"])
            .arg(format!("{}exec \"$@\"", self.0))
            .arg("mounts")
    }
}

/// One word of the shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
