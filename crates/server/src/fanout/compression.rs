//! Which messages are compressed: the larger ones, each once, while a client takes them so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use warren_config::Compression;
use warren_observe::reporter::Reporter;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::websocket::{Deflater, Window};

/// How many clients of this replica take compressed messages.
#[derive(Debug, Default)]
pub struct DeflateClientCount(AtomicUsize);

impl DeflateClientCount {
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// See the module.
#[derive(Debug)]
pub struct Compressor {
    /// Messages as large as this many bytes are worth it.
    least: usize,
    deflate_clients: Arc<DeflateClientCount>,
    reporter: Arc<Reporter>,
    /// 380 kB, made when it is needed.
    deflater: Option<Deflater>,
}

impl Compressor {
    pub fn new(
        setting: Compression,
        deflate_clients: Arc<DeflateClientCount>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let least = setting.0.unwrap_or(usize::MAX);
        Self { least, deflate_clients, reporter, deflater: None }
    }

    /// Compresses a message, if that is worth it.
    pub fn compress(&mut self, message: EncodedMessage) -> EncodedMessage {
        let size = message.json().len();
        if size < self.least || !self.deflate_clients.any() {
            return message;
        }
        let message = message.compressed(self.deflater.get_or_insert_default());
        let after = message.frame_for(Window::FULL).len();
        self.reporter.compressed(message.frame.len(), after);
        message
    }
}
