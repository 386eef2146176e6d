//! The folder that holds the data: taking it over as root, and checking it as whoever the service runs as.
//!
//! Taking over follows no symbolic link and does not leave the folder's file system, so that nothing outside of it can
//! be given away by what lies in it. It is tried again at every start: a backup that root copied back is taken over, too.

use std::{
    fmt,
    fs::{self, DirEntry},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, access, chownat, openat, statat},
    io::Errno,
};

use crate::mounts;

/// Gives the folder and everything in it to `id`, user and group. Says how many owners it changed.
///
/// # Errors
///
/// The first thing that could not be looked at or changed; what came before it stays changed.
pub fn take_over(folder: &Path, id: u32) -> Result<usize, Errno> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, folder, open, Mode::empty())?;
    let root = rustix::fs::fstat(&top)?;
    let mut changed = 0;
    // The folder last: as long as it is root's, root needs no further right to walk through it.
    walk(&top, root.st_dev, id, &mut changed)?;
    if !belongs_to(&root, id) {
        rustix::fs::fchown(&top, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?;
        changed += 1;
    }
    Ok(changed)
}

fn walk(folder: &OwnedFd, device: u64, id: u32, changed: &mut usize) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if found.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            walk(&openat(folder, name, open, Mode::empty())?, device, id, changed)?;
        }
        if !belongs_to(&found, id) {
            chownat(folder, name, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)), AtFlags::SYMLINK_NOFOLLOW)?;
            *changed += 1;
        }
    }
    Ok(())
}

fn belongs_to(found: &Stat, id: u32) -> bool {
    (found.st_uid, found.st_gid) == (id, id)
}

/// What cannot be written, and why.
#[derive(Debug)]
pub struct Problem {
    path: PathBuf,
    reason: Errno,
}

/// Whether this process can make files in the folder and in those below it, and write the files that are there. As taking
/// over, it follows no symbolic link and stays on the folder's file system.
///
/// # Errors
///
/// The first thing that it cannot write.
pub fn check(folder: &Path) -> Result<(), Problem> {
    let device = fs::metadata(folder).map_err(|error| Problem::of(folder, &error))?.dev();
    check_below(folder, device)
}

fn check_below(folder: &Path, device: u64) -> Result<(), Problem> {
    can(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    for entry in fs::read_dir(folder).map_err(|error| Problem::of(folder, &error))? {
        let entry = entry.map_err(|error| Problem::of(folder, &error))?;
        match check_entry(&entry, device) {
            // Another service that shares the folder has removed it meanwhile.
            Err(problem) if problem.reason == Errno::NOENT => {}
            checked => checked?,
        }
    }
    Ok(())
}

fn check_entry(entry: &DirEntry, device: u64) -> Result<(), Problem> {
    let path = entry.path();
    let found = entry.metadata().map_err(|error| Problem::of(&path, &error))?;
    // `lost+found` of a disk of its own is root's for good reason.
    if found.dev() != device || entry.file_name() == "lost+found" {
        Ok(())
    } else if found.is_dir() {
        check_below(&path, device)
    } else if found.is_file() {
        can(&path, Access::READ_OK | Access::WRITE_OK)
    } else {
        Ok(())
    }
}

fn can(path: &Path, wanted: Access) -> Result<(), Problem> {
    access(path, wanted).map_err(|reason| Problem { path: path.to_owned(), reason })
}

impl Problem {
    fn of(path: &Path, error: &std::io::Error) -> Self {
        Self { path: path.to_owned(), reason: Errno::from_io_error(error).unwrap_or(Errno::IO) }
    }

    /// What to do about it. `taking` is why taking over failed, where it was tried.
    pub fn advice(&self, folder: &Path, user: u32, group: u32, taking: Option<Errno>) -> String {
        let mut text = format!("user {user} cannot write {self}");
        if let Some(error) = taking {
            text += &format!("; giving it to that user failed, too: {error}");
        }
        if self.reason == Errno::ROFS || taking == Some(Errno::ROFS) {
            return text + &format!("\n  mount it to be written: -v FOLDER:{} without `:ro`", folder.display());
        }
        let source = mounts::source(folder);
        let outside = source.as_deref().unwrap_or_else(|| Path::new("FOLDER"));
        let place = quoted(&outside.display().to_string());
        text += &format!("\n  on the host: sudo chown -R {user}:{group} {place} && sudo chmod -R u+rwX {place}");
        if source.is_none() {
            text += &format!("\n  where FOLDER is what is mounted at {}", folder.display());
        }
        text += &format!("\n  in Kubernetes: securityContext.fsGroup: {group}");
        if let Ok(owner) = fs::metadata(folder)
            && owner.uid() != user
            && owner.uid() != 0
        {
            text += &format!("\n  or run as its owner: docker run --user {}:{} …", owner.uid(), owner.gid());
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// As one word of a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(quoted("/srv/traces"), "/srv/traces");
        assert_eq!(quoted("/home/me/it's mine"), r"'/home/me/it'\''s mine'");
    }

    #[test]
    fn a_missing_folder_is_told() {
        let folder = Path::new("/nowhere/at all");
        let problem = check(folder).expect_err("it is not there");
        assert_eq!(problem.reason, Errno::NOENT);
        let advice = problem.advice(folder, 7, 8, Some(Errno::PERM));
        assert!(advice.contains("user 7 cannot write /nowhere/at all: "), "{advice}");
        assert!(advice.contains("failed, too") && advice.contains("sudo chown -R 7:8 FOLDER"), "{advice}");
    }
}
