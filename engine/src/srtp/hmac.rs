//! HMAC-SHA1 with the pads already compressed (RFC 2104 section 4, RFC 3711 section 4.2.1).
//!
//! Given: a session key once, then packets. Decides: the 20-byte digest. Refuses: truncation and comparison (`cipher.rs`).
//! A call keeps 40 bytes, and each packet saves the two compressions of the pads: 4 instead of 6 for a 172-byte packet.

use sha1::block_api::compress;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A keyed HMAC-SHA1: the chaining values behind the inner and the outer pad.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct HmacSha1 {
    inner: [u32; 5],
    outer: [u32; 5],
}

/// SHA-1's initial chaining value (FIPS 180-4 section 5.3.1).
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
const BLOCK_BYTES: usize = 64;
/// Most bytes that may follow the packet: the roll-over counter.
const SUFFIX_BYTES_MAX: usize = 4;

impl HmacSha1 {
    /// Keys it. `key` has at most 64 bytes (SRTP uses 20); a longer one panics: set-up path.
    pub(super) fn new(key: &[u8]) -> Self {
        let mut this = Self { inner: INITIAL, outer: INITIAL };
        let mut pad = [0; BLOCK_BYTES];
        pad[..key.len()].copy_from_slice(key);
        pad.iter_mut().for_each(|byte| *byte ^= 0x36);
        compress(&mut this.inner, &[pad]);
        pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        compress(&mut this.outer, &[pad]);
        pad.zeroize();
        this
    }

    /// The digest of `data` followed by `suffix` (at most 4 bytes).
    #[inline]
    pub(super) fn digest(&self, data: &[u8], suffix: &[u8]) -> [u8; 20] {
        debug_assert!(suffix.len() <= SUFFIX_BYTES_MAX);
        let mut state = self.inner;
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        compress(&mut state, blocks);

        // 63 + 4 bytes, the end mark and 8 bytes of length fit into two blocks. In front of them is room to copy the last 64 bytes of
        // the packet at once, those in `rest` landing where they belong: a copy of known length is four moves and no call.
        let mut tail = [[0; BLOCK_BYTES]; 3];
        let flat = tail.as_flattened_mut();
        match data.last_chunk::<BLOCK_BYTES>() {
            Some(last) => flat[rest.len()..][..BLOCK_BYTES].copy_from_slice(last),
            None => flat[BLOCK_BYTES..][..rest.len()].copy_from_slice(rest),
        }
        let flat = &mut flat[BLOCK_BYTES..];
        let end = rest.len() + suffix.len();
        flat[rest.len()..end].copy_from_slice(suffix);
        flat[end] = 0x80;
        let tail_blocks = if end < BLOCK_BYTES - 8 { 1 } else { 2 };
        let bits = ((BLOCK_BYTES + data.len() + suffix.len()) as u64) << 3;
        flat[tail_blocks * BLOCK_BYTES - 8..tail_blocks * BLOCK_BYTES].copy_from_slice(&bits.to_be_bytes());
        compress(&mut state, &tail[1..=tail_blocks]);

        let mut last = [0; BLOCK_BYTES];
        last[..20].copy_from_slice(&big_endian(state));
        last[20] = 0x80;
        last[BLOCK_BYTES - 8..].copy_from_slice(&(((BLOCK_BYTES + 20) as u64) << 3).to_be_bytes());
        let mut state = self.outer;
        compress(&mut state, &[last]);
        big_endian(state)
    }
}

#[inline]
fn big_endian(state: [u32; 5]) -> [u8; 20] {
    let mut out = [0; 20];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::hmac::{KeyInit, Mac};
    use proptest::prelude::*;

    proptest! {
        /// The whole packet range and every block boundary, against the `hmac` crate.
        #[test]
        fn agrees_with_the_hmac_crate(key in any::<[u8; 20]>(), data in prop::collection::vec(any::<u8>(), 0..1_500), roc in any::<u32>()) {
            let mut oracle = ::hmac::Hmac::<sha1::Sha1>::new_from_slice(&key).expect("any length");
            oracle.update(&data);
            prop_assert_eq!(HmacSha1::new(&key).digest(&data, &[]), <[u8; 20]>::from(oracle.clone().finalize().into_bytes()));
            oracle.update(&roc.to_be_bytes());
            prop_assert_eq!(HmacSha1::new(&key).digest(&data, &roc.to_be_bytes()), <[u8; 20]>::from(oracle.finalize().into_bytes()));
        }
    }
}
