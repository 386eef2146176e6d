//! What is mounted at a folder, and what it is called outside of the container.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The kernel's list of what this process sees mounted where; see proc(5).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Whether something is mounted at exactly this folder. Where the kernel does not tell, as if it were: a check too many
/// costs nothing.
pub fn is_mounted(folder: &Path) -> bool {
    fs::read(MOUNTS).map_or(true, |mounts| source_in(&mounts, folder).is_some())
}

/// For a bind mount, where the folder lies within its file system. On a host with one file system, and for Docker's
/// named volumes there, that is its path on the host; `None` for a whole file system.
pub fn source(folder: &Path) -> Option<PathBuf> {
    source_in(&fs::read(MOUNTS).ok()?, folder).filter(|source| source != Path::new("/"))
}

/// A line is `36 35 98:0 <root within the file system> <mount point> …`. The last one for a mount point lies on top.
fn source_in(mounts: &[u8], folder: &Path) -> Option<PathBuf> {
    mounts.split(|&byte| byte == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        let (source, point) = (fields.next()?, fields.next()?);
        (unescaped(point) == folder.as_os_str().as_bytes())
            .then(|| PathBuf::from(OsString::from_vec(unescaped(source))))
    })
}

/// Blanks and backslashes are written in octal: `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
40 22 254:1 /home/me/my\\040traces /data rw - ext4 /dev/vda1 rw
41 22 0:35 / /dev/shm rw - tmpfs tmpfs rw
";

    #[test]
    fn a_bind_mount_tells_where_it_comes_from() {
        assert_eq!(source_in(MOUNTS, Path::new("/data")), Some(PathBuf::from("/home/me/my traces")));
        assert_eq!(source_in(MOUNTS, Path::new("/dev/shm")), Some(PathBuf::from("/")));
        assert_eq!(source_in(MOUNTS, Path::new("/dat")), None);
    }

    #[test]
    fn this_process_sees_its_root_and_its_temp_folder_is_not_mounted_for_itself() {
        assert!(is_mounted(Path::new("/")));
        assert!(!is_mounted(Path::new("/nowhere")));
    }
}
