//! Packets waiting for their tick, in sequence order, with their bytes in one arena.
//!
//! Decides: where bytes lie, and that neither slots nor bytes ever exceed what `new` allocated. Refuses: to judge packets or time.

use std::collections::VecDeque;

use crate::limits::{JITTER_SLOTS_MAX, OPUS_BYTES_MAX};

/// What is kept of a packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Extended sequence number.
    pub seq: i64,
    /// Extended RTP timestamp.
    pub ts: i64,
    /// Arrival in 48 kHz ticks.
    pub arrival: i64,
    /// Duration in 48 kHz ticks.
    pub duration: u16,
    /// The sender heard no voice in it: what is done to it is hardly heard.
    pub quiet: bool,
    /// It carries a copy of the frame before it.
    pub has_fec: bool,
    offset: u16,
    len: u16,
}

/// What an Opus packet says of itself before it is decoded: (no voice in it, carries in-band FEC).
///
/// In the SILK layer the first bits are one voice activity flag per 20 ms and one flag for the redundant copy, each coded with even
/// odds, so that they stand in the first byte as they are. Packets of several frames are not looked into: no voice only if they are
/// too short for any, and FEC is taken to be there.
//= rfc6716#section-4.2.3  header bits
fn flags(payload: &[u8]) -> (bool, bool) {
    let is_short = payload.len() <= QUIET_BYTES_MAX;
    let [toc, first, ..] = *payload else { return (is_short, false) };
    if toc >> 3 >= CELT_CONFIG_MIN {
        return (is_short, false);
    }
    if toc & 3 != 0 {
        return (is_short, true);
    }
    let voice_flags = match toc >> 3 {
        config @ 0..HYBRID_CONFIG_MIN => (config & 3).max(1),
        _ => 1,
    };
    (is_short || first >> (8 - voice_flags) == 0, first >> (7 - voice_flags) & 1 == 1)
}

/// At most `JITTER_SLOTS_MAX` packets and so many bytes of payload, allocated once: 5.5 KiB of bytes for Opus and 1 KiB of slots.
///
/// An arena rather than slots of the largest packet: 32 x 1 276 bytes would be 40 KiB per call, and Meta's packets have 50 bytes.
#[derive(Debug)]
pub(super) struct Store {
    slots: VecDeque<Slot>,
    arena: Box<[u8]>,
    /// Bytes of the arena in use, counting holes left by packets that were taken out.
    top: usize,
    /// The payloads are Opus, so that their first bits mean something.
    is_opus: bool,
}

impl Store {
    /// At most 64 KiB.
    pub(super) fn new(is_opus: bool, bytes: usize) -> Self {
        let arena = vec![0; bytes.min(usize::from(u16::MAX))].into_boxed_slice();
        Self { slots: VecDeque::with_capacity(JITTER_SLOTS_MAX), arena, top: 0, is_opus }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn front(&self) -> Option<&Slot> {
        self.slots.front()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.top = 0;
    }

    /// Puts a packet in its place; false if there is no room for it. The caller has made sure that `seq` is not there yet.
    //= rules#J4
    pub(super) fn insert(&mut self, seq: i64, ts: i64, arrival: i64, duration: u16, payload: &[u8]) -> bool {
        debug_assert!(payload.len() <= OPUS_BYTES_MAX);
        if self.slots.len() == JITTER_SLOTS_MAX {
            return false;
        }
        if self.slots.is_empty() {
            self.top = 0;
        }
        if self.top + payload.len() > self.arena.len() {
            self.close_holes();
        }
        let Some(room) = self.arena.get_mut(self.top..self.top + payload.len()) else { return false };
        room.copy_from_slice(payload);
        let (quiet, has_fec) = if self.is_opus { flags(payload) } else { (false, false) };
        let slot = Slot { seq, ts, arrival, duration, quiet, has_fec, offset: self.top as u16, len: payload.len() as u16 };
        self.top += payload.len();
        // Packets come nearly in order, so the place is nearly always the end.
        let after = self.slots.iter().rev().take_while(|s| s.seq > seq).count();
        self.slots.insert(self.slots.len() - after, slot);
        true
    }

    /// Takes the first packet out. Its bytes stay readable by [`Self::bytes`] until the next `insert` or `clear`.
    pub(super) fn pop_front(&mut self) -> Option<Slot> {
        self.slots.pop_front()
    }

    pub(super) fn bytes(&self, slot: &Slot) -> &[u8] {
        &self.arena[usize::from(slot.offset)..][..usize::from(slot.len)]
    }

    fn close_holes(&mut self) {
        let mut by_offset = [0u8; JITTER_SLOTS_MAX];
        let by_offset = &mut by_offset[..self.slots.len()];
        by_offset.iter_mut().enumerate().for_each(|(i, index)| *index = i as u8);
        by_offset.sort_unstable_by_key(|&i| self.slots[usize::from(i)].offset);
        self.top = 0;
        for &index in by_offset.iter() {
            let slot = &mut self.slots[usize::from(index)];
            let from = usize::from(slot.offset);
            self.arena.copy_within(from..from + usize::from(slot.len), self.top);
            slot.offset = self.top as u16;
            self.top += usize::from(slot.len);
        }
    }
}

/// 176 bytes per slot on average: room for 32 packets of 70 kb/s at 20 ms, for 22 of 100 kb/s (twice the worst delay we play out), or for four of the largest.
pub(super) const OPUS_ARENA_BYTES: usize = JITTER_SLOTS_MAX * 176;
/// Opus at 20 kb/s needs about 50 bytes for 20 ms of speech and 7 to 9 for silence.
const QUIET_BYTES_MAX: usize = 12;
/// TOC configurations (RFC 6716 table 2): SILK alone below, hybrid from here, CELT alone from the next.
const HYBRID_CONFIG_MIN: u8 = 12;
const CELT_CONFIG_MIN: u8 = 16;

const _: () = assert!(OPUS_ARENA_BYTES <= u16::MAX as usize && OPUS_ARENA_BYTES >= 4 * OPUS_BYTES_MAX);
const _: () = assert!(JITTER_SLOTS_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};

    /// RFC 6716 section 4.2.3: voice flags first, one per 20 ms, then the flag of the copy.
    #[test]
    fn voice_and_copy_are_read_off_the_first_bits() {
        let packet = |toc: u8, first: u8| {
            let mut payload = [0x55; 40];
            (payload[0], payload[1]) = (toc, first);
            flags(&payload)
        };
        // Wide band SILK of 20 ms (configuration 9), mono: voice, copy.
        assert_eq!(packet(0x48, 0b1100_0000), (false, true));
        assert_eq!(packet(0x48, 0b1000_0000), (false, false));
        assert_eq!(packet(0x48, 0b0011_1111), (true, false));
        assert_eq!(packet(0x48, 0b0100_0000), (true, true));
        // 60 ms (configuration 11): three voice flags.
        assert_eq!(packet(0x58, 0b0001_0000), (true, true));
        assert_eq!(packet(0x58, 0b0010_1111), (false, false));
        // Hybrid of 20 ms, then CELT, which has neither, then several frames, which are not looked into.
        assert_eq!(packet(0x78, 0b0100_0000), (true, true));
        assert_eq!(packet(0x80, 0xff), (false, false));
        assert_eq!(packet(0x4b, 0), (false, true));
        assert_eq!(flags(&[0x48]), (true, false), "DTX");
        assert_eq!(flags(&[0xf8, 0xff, 0xfe]), (true, false), "a silent frame of CELT");
    }

    /// Bytes survive any order of coming and going, and memory is what it was at the start.
    #[test]
    fn bytes_stay_with_their_packet() {
        let mut rng = SeededRng::new(7);
        let mut store = Store::new(true, OPUS_ARENA_BYTES);
        let fill = |seq: i64, len: usize| (0..len).map(|i| (seq as usize * 31 + i) as u8).collect::<Vec<_>>();
        let mut lens = std::collections::BTreeMap::new();
        let mut refused = 0;
        for seq in 0..20_000i64 {
            let seq = seq ^ 3;
            let len = if rng.below(10) == 0 { 1 + rng.below(1_276) as usize } else { 1 + rng.below(120) as usize };
            if store.insert(seq, seq * 960, 0, 960, &fill(seq, len)) {
                lens.insert(seq, len);
            } else {
                refused += 1;
            }
            while store.len() > rng.below(JITTER_SLOTS_MAX as u64 + 1) as usize {
                let slot = store.pop_front().unwrap();
                let (&first, &len) = lens.first_key_value().unwrap();
                assert_eq!(slot.seq, first, "sequence order");
                assert_eq!(store.bytes(&slot), fill(first, len));
                lens.remove(&first);
            }
            assert_eq!((store.slots.capacity(), store.arena.len()), (JITTER_SLOTS_MAX, OPUS_ARENA_BYTES));
        }
        assert!(refused < 100, "{refused}");
    }
}
