//! How a reader takes what waits for it, and how far behind it is.

use super::reader::Cursor;
use super::{Hub, Overrun, SubscriberId};
use std::sync::Arc;
use warren_protocol::encoded::EncodedMessage;

impl Hub {
    /// Shows the messages that wait for `reader`, in order, until `take` returns false.
    ///
    /// # Errors
    /// [`Overrun`] when it has lagged too far behind to be served on.
    pub fn peek<'a>(
        &'a self,
        reader: SubscriberId,
        mut take: impl FnMut(&'a Arc<EncodedMessage>) -> bool,
    ) -> Result<(), Overrun> {
        let reader = &self.readers[reader.0];
        if reader.overrun {
            return Err(Overrun);
        }
        match &reader.cursors[..] {
            [] => {}
            [cursor] => {
                let log = &self.logs[cursor.log()];
                for (_, broadcast) in log.from(cursor.next).ok_or(Overrun)? {
                    if !take(broadcast) {
                        break;
                    }
                }
            }
            cursors => {
                let mut cursors = cursors.to_vec();
                while let Some(place) = self.earliest(&cursors)? {
                    let cursor = &mut cursors[place];
                    let Some((_, broadcast)) = self.logs[cursor.log()].get(cursor.next) else {
                        break;
                    };
                    cursor.next += 1;
                    if !take(broadcast) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves `reader` on by `messages` that it was shown and has dealt with.
    pub fn advance(&mut self, reader: SubscriberId, messages: usize) {
        for _ in 0..messages {
            let cursors = &self.readers[reader.0].cursors;
            let place =
                if cursors.len() == 1 { Some(0) } else { self.earliest(cursors).ok().flatten() };
            let Some(place) = place else { return };
            let cursor = &mut self.readers[reader.0].cursors[place];
            if let Some((_, broadcast)) = self.logs[cursor.log()].get(cursor.next) {
                cursor.next += 1;
                let size = broadcast.frame.len() as u64;
                cursor.read += size;
                let reader = &mut self.readers[reader.0];
                reader.replay = reader.replay.saturating_sub(size);
            }
        }
    }

    /// Bytes of frames that wait for `reader`.
    pub fn lag(&self, reader: SubscriberId) -> u64 {
        let cursors = &self.readers[reader.0].cursors;
        cursors.iter().map(|cursor| self.logs[cursor.log()].bytes() - cursor.read).sum()
    }

    /// Bytes that were announced to a reader and that it has not taken. What it asked to have replayed
    /// is not held against it.
    pub fn live_lag(&self, reader: SubscriberId) -> u64 {
        let reader = &self.readers[reader.0];
        let waiting = reader
            .cursors
            .iter()
            .map(|cursor| self.logs[cursor.log()].committed_bytes().saturating_sub(cursor.read));
        waiting.sum::<u64>().saturating_sub(reader.replay)
    }

    /// The cursor whose next message comes first in the order over all channels.
    fn earliest(&self, cursors: &[Cursor]) -> Result<Option<usize>, Overrun> {
        let mut earliest = None;
        for (place, cursor) in cursors.iter().enumerate() {
            let log = &self.logs[cursor.log()];
            if log.from(cursor.next).is_none() {
                return Err(Overrun);
            }
            if let Some((sequence, _)) = log.get(cursor.next)
                && earliest.is_none_or(|(least, _)| *sequence < least)
            {
                earliest = Some((*sequence, place));
            }
        }
        Ok(earliest.map(|(_, place)| place))
    }
}
