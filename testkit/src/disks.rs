//! Small disks for RabbitMQ nodes, in memory, which can be filled.
//!
//! They are mounted in a mount namespace that a process of the sandbox holds. It ends with the sandbox, and nothing
//! stays mounted.

use super::LIMIT;
use super::process::{Process, Sandbox};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Size of a disk, as an option of `mount`: enough for a node and its log.
const SIZE: &str = "size=400m";
/// File that fills a disk.
const FILLING: &str = "filling";

pub struct Disks {
    holder: Process,
}

impl Disks {
    pub async fn new(sandbox: &Arc<Sandbox>) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "echo held; exec sleep infinity"]);
        let mut holder = sandbox.spawn(command);
        // Before this line the process is not in its namespace yet.
        holder.line(LIMIT, |line| line == "held").await;
        Self { holder }
    }

    /// Mounts an empty disk.
    pub fn mount(&self, dir: &Path) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(dir);
        let mounted = self.enter(&mount).status().expect("nsenter starts");
        assert!(mounted.success(), "a full disk needs root, which alone may mount one: {mounted}");
    }

    /// The command in the namespace of the disks. The process id stays the same.
    pub fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id())).arg("--");
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    /// Fills a disk completely.
    pub fn fill(&self, dir: &Path) {
        let mut file = File::create(self.seen(dir).join(FILLING)).expect("an empty file");
        while file.write_all(&[0; 1 << 16]).is_ok() {}
        // Fills the last bytes.
        while file.write_all(&[0]).is_ok() {}
    }

    pub fn free(&self, dir: &Path) {
        fs::remove_file(self.seen(dir).join(FILLING)).expect("it was filled");
    }

    /// Path of a folder of the namespace, from outside.
    fn seen(&self, dir: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(dir.strip_prefix("/").unwrap())
    }
}
