//! Small disks for RabbitMQ nodes, in memory, which can be filled.
//!
//! They are mounted in a mount namespace that a process of the sandbox holds: when the sandbox ends, so
//! does it, and nothing stays mounted.

use super::LIMIT;
use super::process::{Process, Sandbox};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Room for a node and its log, in the notation of `mount`.
const SIZE: &str = "size=400m";
/// What fills a disk.
const FILLING: &str = "filling";

pub struct Disks {
    holder: Process,
}

impl Disks {
    pub async fn new(sandbox: &Arc<Sandbox>) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "echo held; exec sleep infinity"]);
        let mut holder = sandbox.spawn(command);
        // Before it says so it is where everybody is.
        holder.line(LIMIT, |line| line == "held").await;
        Self { holder }
    }

    /// Puts an empty disk there.
    pub fn mount(&self, dir: &Path) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(dir);
        let mounted = self.enter(&mount).status().expect("nsenter starts");
        assert!(mounted.success(), "a full disk needs root, which alone may mount one: {mounted}");
    }

    /// The same command where the disks are. It keeps its process id.
    pub fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--");
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    /// Writes to the disk until it takes no more.
    pub fn fill(&self, dir: &Path) {
        let mut file = File::create(self.seen(dir).join(FILLING)).expect("an empty file");
        while file.write_all(&[0; 1 << 16]).is_ok() {}
        // The last bytes, too.
        while file.write_all(&[0]).is_ok() {}
    }

    pub fn free(&self, dir: &Path) {
        fs::remove_file(self.seen(dir).join(FILLING)).expect("it was filled");
    }

    /// Where a directory of the namespace is seen from outside.
    fn seen(&self, dir: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(dir.strip_prefix("/").unwrap())
    }
}
