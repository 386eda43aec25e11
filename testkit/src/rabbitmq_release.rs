//! Which RabbitMQ the tests run: the machine's own, or with `RABBITMQ=4` in the environment the one of
//! Debian 13, which `scripts/rabbitmq4` puts into `.cache/debian13`.
//!
//! A program of the latter sees Debian 13's `/usr` in place of the machine's, in a mount namespace of
//! its own, which ends with it. All else is the machine's: `/tmp` with the sandboxes, `/proc`, `/dev`.
//! What enters the namespace becomes the program, so a signal reaches it as if there were none.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

const DEBIAN_13: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/debian13");

/// Not those in `/usr/sbin`: they change to the user `rabbitmq`, share that user's files, and put
/// processes between a test and the node that it kills.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// All that 4.0 calls deprecated. Later ones refuse it, 4.3 some of it already, so the tests show that
/// nothing needs it.
const REFUSED: &str = "\
deprecated_features.permit.amqp_address_v1 = false
deprecated_features.permit.global_qos = false
deprecated_features.permit.queue_master_locator = false
deprecated_features.permit.ram_node_type = false
deprecated_features.permit.transient_nonexcl_queues = false
";

#[derive(Clone, Copy)]
pub struct Release {
    /// Where its `/usr` is.
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
