//! What was written, on its way out: one push per own-document at a time.

use super::{Client, Now, SlotStage};
use crate::wire::{ClientFrame, encode_client};

impl Client {
    /// Writes what became due and pushes what can be pushed.
    pub(super) fn push_all(&mut self, now: Now) {
        let relay_ms = self.clock.relay_ms(now);
        for (name, slot) in &mut self.slots {
            if slot.replica.is_sent() {
                continue;
            }
            slot.replica.write_held(relay_ms, &mut self.entropy);
            if slot.stage != SlotStage::Open {
                continue;
            }
            // On what the relay has now: what was said offline goes as one change.
            slot.replica.write_notes(relay_ms, &mut self.entropy);
            let chunks_max = self.connection.push_chunks_max;
            while let Some((push, generation)) =
                slot.replica.next_push(self.next_reference, relay_ms, chunks_max)
            {
                self.next_reference += 1;
                self.pushes.insert(push.reference, name.clone());
                let frame = ClientFrame::Push {
                    reference: push.reference,
                    channel: name.clone(),
                    window: push.window,
                    generation,
                    doc: push.doc,
                    chunks: push.chunks,
                };
                self.frames.push_back(encode_client(&frame));
                self.connection.asked(now.steady_ms);
            }
        }
    }

    pub(super) fn acked(&mut self, reference: u64, seqs: &[u64]) {
        let Some(channel) = self.pushes.get(&reference) else { return };
        self.connection.did_well();
        if let Some(slot) = self.slots.get_mut(channel) {
            slot.replica.acked(reference, seqs);
            if !slot.replica.is_pushing(reference) {
                self.pushes.remove(&reference);
            }
        }
    }

    pub(super) fn nacked(&mut self, reference: u64, index: usize, code: &str, now: Now) {
        let Some(channel) = self.pushes.remove(&reference) else { return };
        let relay_ms = self.clock.relay_ms(now);
        if let Some(slot) = self.slots.get_mut(&channel) {
            slot.replica.nacked(reference, index, code, relay_ms);
        }
    }
}
