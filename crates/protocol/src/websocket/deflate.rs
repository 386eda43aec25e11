//! Messages compressed with DEFLATE, each by itself (RFC 7692, 7.2): nothing is kept from one to the
//! next, so one deflater and one inflater serve any number of connections.

use super::{CloseReason, ProtocolViolation};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The least effort that chooses its codes by what is to be compressed. What more effort saves is little.
const LEVEL: u32 = 2;
/// An empty block without compression, less its header: what ends a flush, and is not sent.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty final block. It is only read as such where a block has just ended.
const END: [u8; 2] = [3, 0];
/// Room that a message is inflated into at first, as a multiple of what it has now.
const GUESS: usize = 4;
/// The least of it, in bytes.
const LEAST: usize = 64;
/// Bytes of a plain message that take as long as one of a compressed one can at worst, where each block
/// describes all codes there are and uses none.
const COST: usize = 32;

/// Compresses messages.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }
}

impl Deflater {
    /// Appends `message`, compressed, and says whether that is shorter. Its back references span no more
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
        // What takes all of the room is not shorter, or not all of it.
        let shorter = done.is_ok() && out.len() < limit && out.ends_with(&TAIL);
        out.truncate(out.len().saturating_sub(TAIL.len()));
        shorter
    }
}

/// Inflates messages.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// Compressed bytes since the cost was taken.
    bytes: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(false), bytes: 0 }
    }
}

impl Inflater {
    /// What was inflated since this was asked last, in bytes of plain messages that take as long.
    pub fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.bytes).saturating_mul(COST)
    }

    /// The message whose compressed form is `payload`, the frames' payloads put together.
    ///
    /// # Errors
    /// [`CloseReason::TooBig`] as soon as there are more than `most` bytes, [`CloseReason::BadDeflate`] where it is no
    /// compressed message, or not a whole one.
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        most: usize,
    ) -> Result<Vec<u8>, ProtocolViolation> {
        if payload.is_empty() {
            // Some write an empty message as no block at all.
            return Ok(Vec::new());
        }
        self.bytes = self.bytes.saturating_add(payload.len());
        let guess = payload.len().saturating_mul(GUESS);
        let mut message = Vec::with_capacity(guess.min(most.saturating_add(1)));
        let mut rest = payload;
        self.stream.reset(false);
        while let Some(behind) = self.feed(rest, &mut message, most)? {
            // A block that says that it is the last. What follows it begins anew.
            self.stream.reset(false);
            rest = behind;
            if rest.is_empty() {
                return Ok(message);
            }
        }
        // All blocks are whole if, put back, the tail ends the last one, and then the stream can end.
        let behind = match self.feed(&TAIL, &mut message, most)? {
            None => self.feed(&END, &mut message, most)?,
            last => last,
        };
        match behind {
            Some([]) => Ok(message),
            _ => Err(ProtocolViolation(CloseReason::BadDeflate)),
        }
    }

    /// Takes all of `input`, or what there is up to the end of a final block: what is behind that.
    fn feed<'a>(
        &mut self,
        mut input: &'a [u8],
        message: &mut Vec<u8>,
        most: usize,
    ) -> Result<Option<&'a [u8]>, ProtocolViolation> {
        const BAD: ProtocolViolation = ProtocolViolation(CloseReason::BadDeflate);
        loop {
            make_room(message, most);
            let (taken, had) = (self.stream.total_in(), message.len());
            let inflate = || self.stream.decompress_vec(input, message, FlushDecompress::None);
            let Some(status) = contained(inflate) else {
                *self = Self::default();
                return Err(BAD);
            };
            let status = status.map_err(|_| BAD)?;
            let taken = (self.stream.total_in() - taken) as usize;
            input = input.get(taken..).ok_or(BAD)?;
            if message.len() > most {
                return Err(ProtocolViolation(CloseReason::TooBig));
            }
            match status {
                Status::StreamEnd => return Ok(Some(input)),
                // With room left it had nothing more to say.
                _ if input.is_empty() && message.len() < message.capacity() => return Ok(None),
                _ if taken == 0 && message.len() == had => return Err(BAD),
                _ => {}
            }
        }
    }
}

/// What `work` returns, unless it panics: the crate has a way to do so at another level, and what is
/// said by anyone passes here.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Sees to it that there is room for one byte, and never for more than one beyond `most`.
fn make_room(message: &mut Vec<u8>, most: usize) {
    let (have, room) = (message.len(), message.capacity());
    if have == room {
        let room = (2 * room).max(LEAST).min(most.saturating_add(1));
        message.reserve_exact(room.saturating_sub(have).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// The same as a final block.
    const LAST: [u8; 7] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// And without compression.
    const STORED: &[u8] = b"\x00\x05\x00\xfa\xffHello";

    fn inflate(payload: &[u8], most: usize) -> Result<Vec<u8>, CloseReason> {
        Inflater::default().inflate(payload, most).map_err(|ProtocolViolation(close)| close)
    }

    fn deflate(message: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"in front".to_vec();
        let shorter = Deflater::default().deflate(message, &mut out);
        shorter.then(|| out.strip_prefix(b"in front").unwrap().to_vec())
    }

    #[test]
    fn what_rfc_7692_has_as_examples() {
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
    fn blocks_may_end_and_begin_in_any_way() {
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
    fn what_is_no_message() {
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
            // A type of block that there is not, lengths that differ, a reference to before the message.
            &b"\x07"[..],
            b"\x00\x05\x00\xfb\xffHello\x00",
            b"\x02\x06\x00\x00",
            // Its tail was not taken off.
            &[&HELLO[..], &TAIL].concat(),
            // What is behind a final block is none.
            &[&LAST[..], b"\xff"].concat(),
        ] {
            assert_eq!(inflate(payload, 1 << 10), Err(CloseReason::BadDeflate), "{payload:02x?}");
        }
    }

    #[test]
    fn no_more_is_inflated_than_a_message_may_have() {
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
    fn what_gets_shorter_is_compressed_and_comes_back() {
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
                    // Nothing is kept from one message to the next.
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
