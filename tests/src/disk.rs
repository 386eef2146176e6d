//! A disk so small that a test can fill it: a tmpfs of its own.
//!
//! Mounting needs root. A test that cannot mount fails and says so: a test that skipped itself would pass everywhere it
//! was never run. What is mounted lies in the temp folder, so that `tests/run.sh` finds it when a killed test left it.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Errors
    /// When it may not be mounted.
    pub fn mount(mebibytes: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("disk-").tempdir().context("no temp folder")?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0777"), "tmpfs"])
            .arg(folder.path())
            .output()
            .context("cannot run mount")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("a disk to fill cannot be mounted, run this test as root: {}", reason.trim());
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).context("cannot open up the disk")?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it to the last byte, except for `spare` bytes.
    ///
    /// # Errors
    /// When a write fails for another reason than a full disk.
    pub fn fill(&self, spare: u64) -> Result<()> {
        let mut filler =
            OpenOptions::new().create(true).append(true).open(self.filler()).context("cannot open the filler")?;
        // Large pieces first, then what is left of the last page.
        for piece in [vec![0_u8; 1 << 20], vec![0; 4096], vec![0; 1]] {
            while write_piece(&mut filler, &piece)? {}
        }
        let length = filler.metadata().context("the filler is gone")?.len();
        filler.set_len(length.saturating_sub(spare)).context("cannot give back the spare bytes")
    }

    /// Takes the filler away.
    ///
    /// # Errors
    /// When there is none.
    pub fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.filler()).context("cannot remove the filler")
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still hold a file.
        Command::new("umount").arg("--lazy").arg(self.folder.path()).status().ok();
    }
}

/// Whether there was room.
fn write_piece(file: &mut File, piece: &[u8]) -> Result<bool> {
    match file.write_all(piece) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(false),
        Err(error) => Err(error).context("cannot fill the disk"),
    }
}
