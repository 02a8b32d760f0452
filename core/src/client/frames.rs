//! What the relay says: frames taken apart and handed to where they belong.

use super::{Client, Event, Now, Slot, SlotStage};
use crate::channel::{Answer, Arrival, ChannelError, Opened, UnseenRun};
use crate::directory::Directory;
use crate::wire::{ClientFrame, RelayFrame, decode_relay};

/// Why the connection is given up: stable words for logs.
const BAD_FRAME: &str = "bad_frame";
const OUT_OF_STEP: &str = "out_of_step";

impl Client {
    /// Takes in bytes of the connection: one frame.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Now) {
        self.heard(now);
        match decode_relay(bytes) {
            Ok(Some(frame)) => self.handle_frame(frame, now),
            // A frame of a later version that may be skipped.
            Ok(None) => {}
            Err(_) => self.disconnect(BAD_FRAME, now),
        }
        self.settle(now);
    }

    fn handle_frame(&mut self, frame: RelayFrame, now: Now) {
        todo_frame(frame)
    }
}
