//! Compression of single messages with DEFLATE (RFC 7692, 7.2). No context is kept between messages, so
//! one deflater and one inflater serve any number of connections.

use super::{CloseReason, ProtocolViolation};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lowest level with dynamic Huffman codes. Higher levels save little.
const LEVEL: u32 = 2;
/// Empty stored block without its header: ends a flush, and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Empty final block. Valid only where a block has just ended.
const END: [u8; 2] = [3, 0];
/// Initial capacity of an inflated message, as a multiple of its compressed size.
const INITIAL_RATIO: usize = 4;
/// Smallest capacity of an inflated message, in bytes.
const MIN_CAPACITY: usize = 64;
/// Cost of one compressed byte in bytes of a plain message, at worst: blocks that declare all codes and
/// use none.
const COST_PER_BYTE: usize = 32;

/// Compressor of messages.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Deflater {
    /// Appends the compressed `message` to `out`. Returns true if it is shorter. Back references span no more
    /// than the message, which [`Window::holds`](super::Window::holds) relies on.
    pub(super) fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let room = message.len() + TAIL.len();
        let limit = out.len() + room;
        out.reserve_exact(room);
        self.0.reset();
        let compress = || self.0.compress_vec(message, out, FlushCompress::Sync);
        let Some(done) = contained(compress) else {
            *self = Self::default();
            return false;
        };
        // A result that fills the capacity is not shorter, or incomplete.
        let shorter = done.is_ok() && out.len() < limit && out.ends_with(&TAIL);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        shorter
    }
}

/// Decompressor of messages.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// Compressed bytes since the last call of `take_cost`.
    bytes: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(false), bytes: 0 }
    }
}

impl Inflater {
    /// Cost of inflating since the last call, in bytes of plain messages that take as long.
    pub fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.bytes).saturating_mul(COST_PER_BYTE)
    }

    /// Inflates a message from the concatenated payloads of its frames.
    ///
    /// # Errors
    /// [`CloseReason::TooBig`] as soon as the message exceeds `max` bytes, [`CloseReason::BadDeflate`] if the data
    /// is not a complete compressed message.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        max: usize,
    ) -> Result<Vec<u8>, ProtocolViolation> {
        if payload.is_empty() {
            // Some clients write an empty message as no block at all.
            return Ok(Vec::new());
        }
        self.bytes = self.bytes.saturating_add(payload.len());
        let guess = payload.len().saturating_mul(INITIAL_RATIO);
        let mut message = Vec::with_capacity(guess.min(max.saturating_add(1)));
        let mut rest = payload;
        self.stream.reset(false);
        while let Some(rest_of_input) = self.feed(rest, &mut message, max)? {
            // After a final block, a new stream begins.
            self.stream.reset(false);
            rest = rest_of_input;
            if rest.is_empty() {
                return Ok(message);
            }
        }
        // With the tail restored, a complete message ends at a block boundary, where a final block fits.
        let rest_of_input = match self.feed(&TAIL, &mut message, max)? {
            None => self.feed(&END, &mut message, max)?,
            last => last,
        };
        match rest_of_input {
            Some([]) => Ok(message),
            _ => Err(ProtocolViolation(CloseReason::BadDeflate)),
        }
    }

    /// Inflates `input` up to its end, or up to the end of a final block: returns what follows that block.
    fn feed<'a>(
        &mut self,
        mut input: &'a [u8],
        message: &mut Vec<u8>,
        max: usize,
    ) -> Result<Option<&'a [u8]>, ProtocolViolation> {
        const BAD: ProtocolViolation = ProtocolViolation(CloseReason::BadDeflate);
        loop {
            make_room(message, max);
            let (taken, had) = (self.stream.total_in(), message.len());
            let inflate = || self.stream.decompress_vec(input, message, FlushDecompress::None);
            let Some(status) = contained(inflate) else {
                *self = Self::default();
                return Err(BAD);
            };
            let status = status.map_err(|_| BAD)?;
            let taken = (self.stream.total_in() - taken) as usize;
            input = input.get(taken..).ok_or(BAD)?;
            if message.len() > max {
                return Err(ProtocolViolation(CloseReason::TooBig));
            }
            match status {
                Status::StreamEnd => return Ok(Some(input)),
                // With capacity left, all output was written.
                _ if input.is_empty() && message.len() < message.capacity() => return Ok(None),
                _ if taken == 0 && message.len() == had => return Err(BAD),
                _ => {}
            }
        }
    }
}

/// Runs `work` and returns `None` if it panics: the compression library can panic at another level, and
/// anyone's input passes here.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Makes room for at least one byte, and for at most one byte beyond `max`.
fn make_room(message: &mut Vec<u8>, max: usize) {
    let (have, room) = (message.len(), message.capacity());
    if have == room {
        let room = (2 * room).max(MIN_CAPACITY).min(max.saturating_add(1));
        message.reserve_exact(room.saturating_sub(have).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// The same message as a final block.
    const LAST: [u8; 7] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// The same message as a stored block.
    const STORED: &[u8] = b"\x00\x05\x00\xfa\xffHello";

    fn inflate(payload: &[u8], max: usize) -> Result<Vec<u8>, CloseReason> {
        Inflater::default().inflate(payload, max).map_err(|ProtocolViolation(close)| close)
    }

    fn deflate(message: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"in front".to_vec();
        let shorter = Deflater::default().deflate(message, &mut out);
        shorter.then(|| out.strip_prefix(b"in front").unwrap().to_vec())
    }

    #[test]
    fn examples_of_rfc_7692_inflate() {
        // 7.2.3: one block, two, without compression, a final one.
        let two =
            [&[0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff][..], &[0xca, 0xc9, 0xc9, 7, 0]].concat();
        for payload in [&HELLO[..], &two, &[STORED, &[0]].concat(), &[&LAST[..], &[0]].concat()] {
            assert_eq!(inflate(payload, 5).unwrap(), b"Hello", "{payload:02x?}");
            assert_eq!(inflate(payload, 4), Err(CloseReason::TooBig), "{payload:02x?}");
        }
        assert_eq!(inflate(&[0], 0).unwrap(), b"");
    }

    #[test]
    fn any_sequence_of_blocks_inflates() {
        const EMPTY: &[u8] = b"\x00\x00\x00\xff\xff";
        for (blocks, message) in [
            (&[][..], ""),
            (&[&LAST[..]][..], "Hello"),
            (&[&LAST, &LAST], "HelloHello"),
            (&[&LAST, &HELLO], "HelloHello"),
            (&[STORED, STORED, b"\x01\x00\x00\xff\xff"], "HelloHello"),
            (&[STORED, &LAST, b"\x00"], "HelloHello"),
            // The tail ends the final block.
            (&[STORED, b"\x01"], "Hello"),
            (&[EMPTY, EMPTY, &HELLO], "Hello"),
        ] {
            let payload = blocks.concat();
            assert_eq!(inflate(&payload, 10).unwrap(), message.as_bytes(), "{payload:02x?}");
        }
    }

    #[test]
    fn incomplete_or_corrupt_data_is_refused() {
        let text = "what is cut somewhere is not whole, wherever that is; ".repeat(4);
        let whole = deflate(text.as_bytes()).unwrap();
        assert_eq!(inflate(&whole, 1 << 10).unwrap(), text.as_bytes());
        for cut in 1..whole.len() {
            assert_eq!(
                inflate(&whole[..cut], 1 << 10),
                Err(CloseReason::BadDeflate),
                "cut to {cut}"
            );
        }
        for payload in [
            // An invalid block type, differing lengths, a back reference to before the message.
            &b"\x07"[..],
            b"\x00\x05\x00\xfb\xffHello\x00",
            b"\x02\x06\x00\x00",
            // With its tail.
            &[&HELLO[..], &TAIL].concat(),
            // What is follows a final block is not a block.
            &[&LAST[..], b"\xff"].concat(),
        ] {
            assert_eq!(inflate(payload, 1 << 10), Err(CloseReason::BadDeflate), "{payload:02x?}");
        }
    }

    #[test]
    fn inflating_stops_at_the_limit() {
        for size in [0usize, 1, 63, 64, 65, 1000, 100_000] {
            let zeros = vec![0; size];
            let mut payload = Vec::with_capacity(size + 64);
            let mut deflater = Compress::new(Compression::best(), false);
            deflater.compress_vec(&zeros, &mut payload, FlushCompress::Sync).unwrap();
            let payload = payload.strip_suffix(&TAIL).unwrap();
            let message = inflate(payload, size).unwrap();
            assert_eq!(message, zeros);
            assert!(message.capacity() <= size + 1, "{size}: {}", message.capacity());
            if size > 0 {
                assert_eq!(inflate(payload, size - 1), Err(CloseReason::TooBig), "{size}");
            }
        }
    }

    #[test]
    fn shorter_result_is_kept_and_inflates_to_the_message() {
        let mut deflater = Deflater::default();
        let mut inflater = Inflater::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut compressed = 0;
        for size in (0..300).step_by(7).chain([1000, 16_384, 70_000]) {
            for letters in [1, 4, 200] {
                let message: Vec<u8> = (0..size).map(|_| random.u8(..letters)).collect();
                let mut out = Vec::new();
                if deflater.deflate(&message, &mut out) {
                    compressed += 1;
                    assert!(out.len() < size);
                    assert_eq!(inflater.inflate(&out, size).unwrap(), message);
                    // No context is kept between messages.
                    assert_eq!(deflate(&message), Some(out));
                }
            }
        }
        assert!(compressed > 80, "{compressed}");
        let noise: Vec<u8> = (0..1000).map(|_| random.u8(..)).collect();
        assert_eq!(deflate(&noise), None);
        assert_eq!(deflate(b""), None);
    }
}
