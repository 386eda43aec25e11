//! The RabbitMQ release under test: the machine's own, or with `RABBITMQ=4` in the environment that of Debian 13, which
//! `scripts/rabbitmq4` installs into `.cache/debian13`.
//!
//! Programs of the latter see Debian 13's `/usr` in place of the machine's, in a mount namespace of their own, which
//! ends with them. All else is the machine's: `/tmp` with the sandboxes, `/proc`, `/dev`. The command that enters the
//! namespace becomes the program, so signals reach the program directly.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

const DEBIAN_13: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/debian13");

/// Folder of RabbitMQ's scripts. Those in `/usr/sbin` change to the user `rabbitmq`, share that user's files, and put
/// processes between a test and the node that it kills.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// All features that 4.0 calls deprecated are refused, as later releases do, some of them from 4.3 on. So the tests
/// show that none is needed.
const REFUSED: &str = "\
deprecated_features.permit.amqp_address_v1 = false
deprecated_features.permit.global_qos = false
deprecated_features.permit.queue_master_locator = false
deprecated_features.permit.ram_node_type = false
deprecated_features.permit.transient_nonexcl_queues = false
";

#[derive(Clone, Copy)]
pub struct Release {
    /// Folder that has its `/usr`.
    root: &'static str,
    /// Lines for the configuration of a node.
    pub settings: &'static str,
}

impl Release {
    pub fn asked_for() -> Self {
        let release = env::var("RABBITMQ").unwrap_or_default();
        let (root, settings, command) = match &*release {
            "" => ("", "", "`make test`, or `apt-get install rabbitmq-server`"),
            "4" => (DEBIAN_13, REFUSED, "`make test RABBITMQ=4`"),
            _ => panic!("RABBITMQ={release}: there is 4, and the one of the machine without it"),
        };
        let server = format!("{root}{SCRIPTS}/rabbitmq-server");
        assert!(Path::new(&server).exists(), "RabbitMQ is not installed: run {command}");
        Self { root, settings }
    }

    /// One of RabbitMQ's scripts.
    pub fn script(self, name: &str) -> Command {
        self.command(&format!("{SCRIPTS}/{name}"))
    }

    /// A program of the same Debian.
    pub fn command(self, program: &str) -> Command {
        if self.root.is_empty() {
            return Command::new(program);
        }
        let user = fs::metadata("/proc/self").expect("this process").uid();
        assert!(user == 0, "RABBITMQ=4 needs root, which alone may mount");
        let enter = r#"mount --bind "$0/usr" /usr && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", enter, self.root, program]);
        command
    }
}
