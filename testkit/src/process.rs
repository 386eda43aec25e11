//! Child processes that end when the test ends, however it ends.
//!
//! `Drop` is not enough: it runs neither for statics nor when the test run is killed. So all processes of a test belong
//! to the group of a shell that waits for the end of a pipe, whose other end the test process holds. When the pipe
//! ends, because a [`Sandbox`] is dropped or the test process is gone, the shell kills its process group and removes
//! the sandbox's directory. A parent death signal would not do: the kernel sends it when the *thread* that started the
//! child ends, and each test has a thread of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Interval for polling what cannot be awaited.
pub const POLL: Duration = Duration::from_millis(10);

/// The shell ignores signals that may reach its group before the pipe ends. For example, the kernel sends SIGHUP to the
/// group when the test process dies while a member of the group is stopped. The last step runs in a session of its
/// own, because it must outlive the group that it kills.
const LEASH: &str = r#"
    trap '' HUP INT TERM PIPE
    dir=$(mktemp -d)
    echo "$dir"
    read -r _
    exec setsid --wait sh -c 'kill -s KILL -- "-$1"; rm -rf -- "$2"' sh "$$" "$dir"
"#;

/// A process group and a temporary directory that end together with the test.
pub struct Sandbox {
    dir: PathBuf,
    /// Leader of the group; its standard input is the pipe.
    leash: Child,
    /// Ends when the leash has killed the group.
    done: BufReader<ChildStdout>,
}

impl Sandbox {
    pub fn new() -> Arc<Self> {
        let mut leash = Command::new("sh")
            .args(["-c", LEASH])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let mut done = BufReader::new(leash.stdout.take().expect("stdout is piped"));
        let mut dir = String::new();
        done.read_line(&mut dir).expect("the leash says where its directory is");
        let dir = PathBuf::from(dir.trim_end());
        assert!(dir.is_dir(), "mktemp -d made no directory");
        Arc::new(Self { dir, leash, done })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts `command` in this sandbox's group. Its standard input is a pipe, and its output is kept.
    pub fn spawn(self: &Arc<Self>, mut command: Command) -> Process {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
        let output = (0..)
            .map(|n| self.dir.join(format!("{}.{n}.out", program.display())))
            .find(|path| !path.exists())
            .expect("an unused name");
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(&output)
            .expect("a file for the output");
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .process_group(self.leash.id() as i32)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `make setup`", program.display()));
        Process { child, output, read: 0, _sandbox: self.clone() }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.done.read_to_end(&mut Vec::new());
        let _ = self.leash.wait();
    }
}

/// A child process, killed on drop. If the test failed, its last output is shown.
pub struct Process {
    child: Child,
    output: PathBuf,
    /// Length of the output that `line` has read.
    read: usize,
    /// Keeps the output readable, and ends the group when its last process is dropped.
    _sandbox: Arc<Sandbox>,
}

impl Process {
    /// Starts `command` in a sandbox of its own.
    pub fn spawn(command: Command) -> Self {
        Sandbox::new().spawn(command)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Sends the signal with this name, such as `TERM`, unless the process has ended.
    pub fn signal(&mut self, name: &str) {
        if self.exited().is_none() {
            let id = self.id().to_string();
            let sent =
                Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &id]).status();
            assert!(sent.expect("sh starts").success(), "kill -s {name} {id}");
        }
    }

    /// Kills it with SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends. Panics after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            sleep(POLL).await;
        }
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").expect("it reads its standard input");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Awaits the next line of its output that satisfies `wanted`, and skips lines before it.
    pub async fn line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.exited();
            let output = self.output();
            while let Some(length) = output[self.read..].find('\n') {
                let line = &output[self.read..self.read + length];
                self.read += length + 1;
                if wanted(line) {
                    return line.to_owned();
                }
            }
            assert!(ended.is_none(), "it ended without writing the line: {}", ended.unwrap());
            assert!(Instant::now() < deadline, "no such line after {limit:?}");
            sleep(POLL).await;
        }
    }

    /// Its output so far, from standard output and standard error.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let output = self.output();
        if std::thread::panicking() && !output.is_empty() {
            let lines: Vec<_> = output.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- {} ends with:\n{}", self.output.display(), tail.join("\n"));
        }
    }
}
