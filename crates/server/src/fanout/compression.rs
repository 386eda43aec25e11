//! Compression of messages: the larger ones, once each, while there are clients that inflate them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use warren_config::Compression;
use warren_observe::reporter::Reporter;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::websocket::{Deflater, Window};

/// Number of connected clients that receive compressed messages.
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

/// Compresses messages that are large enough.
#[derive(Debug)]
pub struct Compressor {
    /// Least size of a message that is compressed, in bytes.
    min_size: usize,
    deflate_clients: Arc<DeflateClientCount>,
    reporter: Arc<Reporter>,
    /// 380 kB, created when it is needed first.
    deflater: Option<Deflater>,
}

impl Compressor {
    pub fn new(
        setting: Compression,
        deflate_clients: Arc<DeflateClientCount>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let min_size = setting.0.unwrap_or(usize::MAX);
        Self { min_size, deflate_clients, reporter, deflater: None }
    }

    /// Adds the compressed form to a message, if it is large enough and a client receives it.
    pub fn compress(&mut self, message: EncodedMessage) -> EncodedMessage {
        let size = message.json().len();
        if size < self.min_size || !self.deflate_clients.any() {
            return message;
        }
        let message = message.compressed(self.deflater.get_or_insert_default());
        let compressed = message.frame_for(Window::FULL).len();
        self.reporter.compressed(message.frame.len(), compressed);
        message
    }
}
