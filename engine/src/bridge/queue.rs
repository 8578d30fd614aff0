//! A bounded first-in first-out of packets in one run of bytes.
//!
//! Decides: how packets lie beside each other. Given: packets and a bound in bytes. Refuses: to grow past the bound, and to allocate once it has held as much before.

use std::collections::VecDeque;

/// Bytes in front of each packet: its length and the caller's mark.
const HEAD_BYTES: usize = 2 + MARK_BYTES;
/// What a caller may note with a packet.
pub(super) const MARK_BYTES: usize = 8;

/// Packets that wait, oldest first.
#[derive(Debug)]
pub(super) struct PacketQueue {
    bytes: VecDeque<u8>,
    packets: usize,
    bytes_max: usize,
}

impl PacketQueue {
    /// An empty queue that will hold at most `bytes_max` bytes, marks and lengths included.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: VecDeque::new(), packets: 0, bytes_max }
    }

    /// Makes room for `bytes` bytes now, so that nothing allocates later.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Gives memory beyond `bytes` bytes back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// Packets waiting.
    pub(super) fn len(&self) -> usize {
        self.packets
    }

    /// Appends a packet; false, and nothing changed, when it has no room or is longer than a length can say.
    pub(super) fn push(&mut self, mark: [u8; MARK_BYTES], packet: &[u8]) -> bool {
        let Ok(len) = u16::try_from(packet.len()) else { return false };
        if self.bytes.len() + HEAD_BYTES + packet.len() > self.bytes_max {
            return false;
        }
        self.bytes.extend(len.to_be_bytes());
        self.bytes.extend(mark);
        self.bytes.extend(packet);
        self.packets += 1;
        true
    }

    /// Takes the oldest packet into the front of `out`: its mark and length. A packet longer than `out` is dropped, length 0.
    pub(super) fn pop(&mut self, out: &mut [u8]) -> Option<([u8; MARK_BYTES], usize)> {
        if self.packets == 0 {
            return None;
        }
        let mut head = [0; HEAD_BYTES];
        self.take(&mut head);
        let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&head[2..]);
        self.packets -= 1;
        match out.get_mut(..len) {
            Some(room) => {
                self.take(room);
                Some((mark, len))
            }
            None => {
                self.bytes.drain(..len);
                Some((mark, 0))
            }
        }
    }

    fn take(&mut self, out: &mut [u8]) {
        let (front, back) = self.bytes.as_slices();
        let from_front = front.len().min(out.len());
        out[..from_front].copy_from_slice(&front[..from_front]);
        let rest = out.len() - from_front;
        out[from_front..].copy_from_slice(&back[..rest]);
        self.bytes.drain(..out.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_across_the_wrap() {
        let mut queue = PacketQueue::new(100);
        queue.reserve(100);
        let capacity = queue.bytes.capacity();
        let mut out = [0; 64];
        for round in 0..200_u8 {
            let first = vec![round; usize::from(round % 30)];
            assert!(queue.push([round; 8], &first));
            assert!(queue.push([1; 8], b"second"));
            assert_eq!(queue.len(), 2);
            assert_eq!(queue.pop(&mut out), Some(([round; 8], first.len())));
            assert_eq!(out[..first.len()], first[..]);
            assert_eq!(queue.pop(&mut out), Some(([1; 8], 6)));
            assert_eq!(&out[..6], b"second");
        }
        assert_eq!(queue.pop(&mut out), None);
        assert_eq!(queue.bytes.capacity(), capacity, "nothing grew");
    }

    #[test]
    fn a_full_queue_refuses_and_a_packet_too_long_for_the_reader_is_gone() {
        let mut queue = PacketQueue::new(40);
        assert!(queue.push([0; 8], &[7; 20]));
        assert!(!queue.push([0; 8], &[8; 20]));
        assert_eq!(queue.pop(&mut [0; 10]), Some(([0; 8], 0)));
        assert!(queue.push([0; 8], &[9; 30]));
        assert_eq!(queue.pop(&mut [0; 30]).map(|p| p.1), Some(30));
    }
}
