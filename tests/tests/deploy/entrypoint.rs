//! `reflow-entrypoint` as the images use it: on a mounted folder, as root, as somebody else, and with rights missing.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use reflow_tracing_tests::{
    Port, Process, eventually,
    executable::executable,
    http, patience,
    process::{Spec, User},
};
use tempfile::TempDir;

use crate::mounts::Mounts;

const SERVICE: u32 = 10_001;
const SOMEBODY: User = User { uid: 4_321, gid: 8_765 };

/// A folder on a disk of its own, mounted a second time where the container has its data. Everything is undone on drop.
struct Scene {
    folder: TempDir,
    admin: Port,
}

impl Scene {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("no temp folder")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["host", "data", "bin"] {
            fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self { folder, admin: Port::reserve()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder on the host.
    fn host(&self) -> PathBuf {
        self.path("host")
    }

    /// The mounted folder, with the executables where any user may start them.
    fn mounts(&self) -> Result<Mounts> {
        let executables = executable("reflow-entrypoint")?;
        let folder = executables.parent().context("it lies in a folder")?;
        Ok(Mounts::default().bind(folder, &self.path("bin")).bind(&self.host(), &self.path("data")))
    }

    /// The entrypoint with the one-process program behind it, through `wrapper`, such as `setpriv …`.
    fn entrypoint(&self, mounts: &Mounts, wrapper: &[&str]) -> Spec {
        mounts
            .spec(self.folder.path())
            .args(wrapper)
            .arg(self.path("bin/reflow-entrypoint"))
            .arg("--data")
            .arg(self.path("data"))
            .arg(self.path("bin/reflow-tracing"))
            .args(["--port", "0", "--metrics-port", &self.admin.number().to_string()])
            .env("REFLOW_TRACING_SQLITE_PATH", self.path("data/traces.db"))
    }

    async fn ready(&self, process: &mut Process) -> Result<()> {
        eventually(patience(), || async {
            let answer = http::get(self.admin.number(), "/readyz").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await
        .with_context(|| process.tail())
    }

    /// What it says when it does not start.
    async fn refusal(&self, spec: &Spec) -> Result<String> {
        let mut process = Process::spawn(spec)?;
        let status = process.exit(patience()).await?;
        let log = process.log()?;
        ensure!(status.code() == Some(1), "{status}: {log}");
        Ok(log)
    }
}

fn setpriv(user: User, more: &[&str]) -> Vec<String> {
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    let words = ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups"];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn owner(path: &Path) -> Result<(u32, u32)> {
    let found = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    Ok((found.uid(), found.gid()))
}

/// A line of `/proc/<pid>/status`.
fn status(pid: u32, key: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {key}"))?.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn expect_no_rights(pid: u32, uid: u32, gid: u32) -> Result<()> {
    let four = |id: u32| [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join(" ");
    let mut expected = vec![("Uid", four(uid)), ("Gid", four(gid)), ("Groups", String::new())];
    let none = "0000000000000000".to_owned();
    expected.extend(["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|set| (set, none.clone())));
    expected.push(("NoNewPrivs", "1".to_owned()));
    for (key, value) in expected {
        let found = status(pid, key)?;
        ensure!(found == value, "{key} is {found:?}, not {value:?}");
    }
    Ok(())
}

#[tokio::test]
async fn root_takes_the_folder_over_and_keeps_no_right() -> Result<()> {
    let scene = Scene::new()?;
    fs::create_dir_all(scene.path("host/dead-letters/old"))?;
    fs::write(scene.path("host/dead-letters/old/letter"), "x")?;
    fs::write(scene.path("outside"), "not data")?;
    symlink(scene.path("outside"), scene.path("host/link"))?;
    symlink(scene.folder.path(), scene.path("host/folder-link"))?;

    let mut process = Process::spawn(&scene.entrypoint(&scene.mounts()?, &[]))?;
    scene.ready(&mut process).await?;
    expect_no_rights(process.pid(), SERVICE, SERVICE)?;
    ensure!(status(process.pid(), "CapBnd")? == "0000000000000000", "the bounding set is not empty");
    for name in ["host", "host/dead-letters/old", "host/dead-letters/old/letter", "host/link", "host/traces.db"] {
        ensure!(owner(&scene.path(name))? == (SERVICE, SERVICE), "{name} belongs to {:?}", owner(&scene.path(name))?);
    }
    ensure!(owner(&scene.path("outside"))? == (0, 0), "what a link points to was given away");
    ensure!(owner(scene.folder.path())? == (0, 0), "what a link points to was given away");
    let log = process.log()?;
    ensure!(log.contains("6 owners changed to 10001"), "{log}");

    // The same process: a signal to the entrypoint is one to the service.
    let end = process.terminate(patience()).await?;
    ensure!(end.code() == Some(0), "{end}: {}", process.tail());
    Ok(())
}

#[tokio::test]
async fn a_second_start_changes_only_what_root_put_there_since() -> Result<()> {
    let scene = Scene::new()?;
    let spec = scene.entrypoint(&scene.mounts()?, &[]);
    for starts in 1..=3 {
        let mut process = Process::spawn(&spec)?;
        scene.ready(&mut process).await?;
        ensure!(process.terminate(patience()).await?.success(), "{}", process.tail());
        let log = process.log()?;
        // At first the folder itself, then one file each time.
        let changes = log.lines().filter(|line| line.contains(": 1 owners changed to 10001")).count();
        ensure!(changes == starts, "{log}");
        fs::write(scene.path(&format!("host/restored-{starts}")), "by root")?;
    }
    Ok(())
}

#[tokio::test]
async fn another_user_keeps_folder_and_user_and_loses_rights_all_the_same() -> Result<()> {
    let scene = Scene::new()?;
    std::os::unix::fs::chown(scene.host(), Some(SOMEBODY.uid), Some(SOMEBODY.gid))?;
    fs::write(scene.path("host/note"), "root's")?;
    fs::set_permissions(scene.path("host/note"), fs::Permissions::from_mode(0o666))?;
    // A capability that an orchestrator left over by mistake.
    let wrapper = setpriv(SOMEBODY, &["--inh-caps", "+chown", "--ambient-caps", "+chown"]);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut process = Process::spawn(&scene.entrypoint(&scene.mounts()?, &wrapper))?;
    scene.ready(&mut process).await?;
    expect_no_rights(process.pid(), SOMEBODY.uid, SOMEBODY.gid)?;
    ensure!(owner(&scene.path("host/note"))? == (0, 0), "an owner was changed");
    ensure!(owner(&scene.path("host/traces.db"))? == (SOMEBODY.uid, SOMEBODY.gid), "the database is not its own");
    Ok(())
}

#[tokio::test]
async fn the_command_that_it_prints_mends_a_folder_that_cannot_be_written() -> Result<()> {
    let scene = Scene::new()?;
    fs::create_dir(scene.path("host/my traces"))?;
    let mounts = scene.mounts()?.bind(&scene.path("host/my traces"), &scene.path("data"));
    fs::write(scene.path("host/my traces/traces.db"), "")?;
    let wrapper = setpriv(SOMEBODY, &[]);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let spec = scene.entrypoint(&mounts, &wrapper);
    let refusal = scene.refusal(&spec).await?;
    ensure!(refusal.contains("user 4321 cannot write") && refusal.contains("Permission denied"), "{refusal}");
    ensure!(refusal.contains("securityContext.fsGroup: 8765"), "{refusal}");

    let command = refusal.lines().find_map(|line| line.trim().strip_prefix("on the host: ")).context("no command")?;
    let shown = format!("{}/my traces", path_within_its_disk(&scene.host())?);
    ensure!(command.matches(&shown).count() == 2, "{command} does not name {shown}");
    let command = command.replace("sudo ", "").replace(&shown, &scene.path("host/my traces").display().to_string());
    ensure!(Command::new("sh").args(["-ec", &command]).status()?.success(), "{command}");
    let mut process = Process::spawn(&spec)?;
    scene.ready(&mut process).await
}

#[tokio::test]
async fn what_lies_deeper_and_cannot_be_written_is_told_before_the_service_starts() -> Result<()> {
    let scene = Scene::new()?;
    std::os::unix::fs::chown(scene.host(), Some(SOMEBODY.uid), Some(SOMEBODY.gid))?;
    let deep = scene.path("host/dead-letters/old");
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("letter"), "root's")?;
    // What a file system has for itself, and what lies outside, are none of the service's business.
    fs::create_dir(scene.path("host/lost+found"))?;
    fs::set_permissions(scene.path("host/lost+found"), fs::Permissions::from_mode(0o700))?;
    symlink("/etc/passwd", scene.path("host/link"))?;
    let wrapper = setpriv(SOMEBODY, &[]);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let spec = scene.entrypoint(&scene.mounts()?, &wrapper);
    for path in ["dead-letters", "dead-letters/old", "dead-letters/old/letter"] {
        let told = format!("user 4321 cannot write {}: Permission denied", scene.path("data").join(path).display());
        let refusal = scene.refusal(&spec).await?;
        ensure!(refusal.contains(&told) && refusal.contains("sudo chown -R 4321:8765"), "{told} in {refusal}");
        std::os::unix::fs::chown(scene.host().join(path), Some(SOMEBODY.uid), Some(SOMEBODY.gid))?;
    }
    let mut process = Process::spawn(&spec)?;
    scene.ready(&mut process).await
}

/// What the kernel calls a folder in its list of mounts: the path without that of the disk it lies on.
fn path_within_its_disk(folder: &Path) -> Result<String> {
    let output = Command::new("findmnt")
        .args(["--noheadings", "--output", "TARGET,FSROOT", "--target"])
        .arg(folder)
        .output()
        .context("findmnt of util-linux")?;
    let text = String::from_utf8(output.stdout)?;
    let (target, root) = text.trim().split_once(char::is_whitespace).context(text.clone())?;
    let below = folder.strip_prefix(target)?;
    Ok(Path::new(root.trim()).join(below).display().to_string())
}

#[tokio::test]
async fn root_that_may_not_change_owners_says_so_and_what_to_do() -> Result<()> {
    let scene = Scene::new()?;
    let spec = scene.entrypoint(&scene.mounts()?, &["setpriv", "--bounding-set", "-chown"]);
    let refusal = scene.refusal(&spec).await?;
    for expected in
        ["user 10001 cannot write", "giving it to that user failed, too: Operation not permitted", "chown -R"]
    {
        ensure!(refusal.contains(expected), "{expected} in {refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn root_without_any_capability_is_told_to_start_as_the_user() -> Result<()> {
    let scene = Scene::new()?;
    let spec = scene.entrypoint(&scene.mounts()?, &["setpriv", "--bounding-set", "-all"]);
    let refusal = scene.refusal(&spec).await?;
    ensure!(refusal.contains("cannot become user 10001") && refusal.contains("--user 10001:10001"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn a_folder_mounted_read_only_is_told_apart() -> Result<()> {
    let scene = Scene::new()?;
    let spec = scene.entrypoint(&scene.mounts()?.read_only(&scene.path("data")), &[]);
    let refusal = scene.refusal(&spec).await?;
    ensure!(refusal.contains("Read-only file system") && refusal.contains("without `:ro`"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_left_alone() -> Result<()> {
    let scene = Scene::new()?;
    fs::set_permissions(scene.path("data"), fs::Permissions::from_mode(0o700))?;
    let bin = executable("reflow-entrypoint")?;
    let spec = Spec::new(&bin, scene.folder.path()).arg("--data").arg(scene.path("data"));
    let mut process = Process::spawn(&spec.arg("id").arg("-u").output(scene.path("output")))?;
    ensure!(process.exit(patience()).await?.success(), "{}", process.tail());
    ensure!(fs::read_to_string(scene.path("output"))?.trim() == "10001", "it did not become the user");
    ensure!(owner(&scene.path("data"))? == (0, 0), "it was taken over");
    Ok(())
}

#[tokio::test]
async fn a_wrong_command_line_and_a_missing_program_are_told() -> Result<()> {
    let scene = Scene::new()?;
    let bin = executable("reflow-entrypoint")?;
    for (words, code, text) in [
        (&["--data"][..], 2, "usage: reflow-entrypoint [--data FOLDER] PROGRAM"),
        (&["/nowhere/reflow-tracing"][..], 1, "cannot start /nowhere/reflow-tracing: No such file"),
    ] {
        let mut process = Process::spawn(&Spec::new(&bin, scene.folder.path()).args(words))?;
        let status = process.exit(patience()).await?;
        ensure!(status.code() == Some(code) && process.log()?.contains(text), "{status}: {}", process.log()?);
    }
    Ok(())
}
