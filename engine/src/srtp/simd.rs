//! AES counter mode and AES-GCM with AES-NI and carry-less multiplication, for x86-64.
//!
//! Given: session keys once, then nonces and bytes. Decides: how many blocks are in flight. Refuses: processors without the instructions
//! ([`is_available`]; `portable.rs` serves them), and what is covered by the tag (`cipher.rs`).
//!
//! Packets of speech (up to eleven blocks) take the way of two blocks per instruction where the processor has it ([`is_wide`]): the whole key stream, mask of the tag
//! included, stays in registers, is computed once, and serves the tag and the text. Longer ones, and older processors, go block by block.
//!
//! Round keys and powers of the hash key are plain bytes, held once per call: 176 or 240 and 192 bytes. The portable crates keep several
//! times that and set their state up again for each packet. `tests.rs` holds both paths against each other bit for bit.
//!
//! The only unsafe code is the step into functions that need the instructions, and whole-block loads and stores.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_clmulepi64_si128, _mm_cvtsi128_si32,
    _mm_insert_epi32, _mm_loadu_si128, _mm_set_epi64x, _mm_set1_epi32, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_srli_si128, _mm_storeu_si128, _mm_testz_si128, _mm_xor_si128, _mm256_aesenc_epi128, _mm256_aesenclast_epi128,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_set_epi64x, _mm256_set_m128i, _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_xor_si256,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks whose rounds are interleaved: a 160-byte payload and the tag's mask are 11. Twelve blocks keep both AES units of a current core
/// busy for the latency of a round and fit into 16 registers.
const LANES: usize = 12;
/// Powers of the hash key: header, 160 bytes and the lengths are 12 blocks, so a usual packet needs one reduction.
const POWERS: usize = 12;
type Block = [u8; 16];
/// Pairs of blocks that the wide way has in flight for a packet of up to 5 and of up to 11 blocks of text: the mask of the tag is one more.
const FEW: usize = 3;
const MANY: usize = 6;

/// Whether this processor has what this file needs. Cached by the standard library.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("avx2")
}

/// Whether it also takes two blocks at a time. Cached by the standard library.
pub(super) fn is_wide() -> bool {
    is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq")
}

/// An expanded AES key: `N` is 11 for AES-128 and 15 for AES-256.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Aes<const N: usize> {
    round_keys: [Block; N],
    /// Two blocks per instruction.
    #[zeroize(skip)]
    wide: bool,
}

impl<const N: usize> Aes<N> {
    /// Expands `key`; `wide` only where [`is_wide`]. Panics on a wrong length or a processor that cannot: set-up path.
    pub(super) fn new(key: &[u8], wide: bool) -> Self {
        assert!(is_available() && (!wide || is_wide()), "the caller asked is_available() and is_wide()");
        assert_eq!(key.len(), 4 * (N - 7), "11 round keys belong to 16 bytes, 15 to 32");
        let mut this = Self { round_keys: [[0; 16]; N], wide };
        // JUSTIFICATION: key expansion by the processor takes no table look-ups that depend on the key; see `apply` for the gain.
        // SAFETY: the features were just found present.
        unsafe { expand(key, &mut this.round_keys) };
        this
    }

    /// XORs `data` with the key stream that starts at counter block `iv`, a big-endian number. The counter is its low 32 bits.
    #[inline]
    pub(super) fn apply(&self, iv: u128, data: &mut [u8]) {
        // The wide way writes the counter into the lowest byte.
        if self.wide && data.len() <= 32 * MANY && iv as u8 == 0 {
            // JUSTIFICATION: half of the instructions for the cipher of a packet.
            // SAFETY: `new` found the features present, and there is no other way to make a `Self` that is wide.
            unsafe { apply_wide(&self.round_keys, iv, data) }
        } else {
            // JUSTIFICATION: protect_rtp of 160 bytes with CM80 takes 219 ns against 265 ns on the portable path (EPYC Turin).
            // SAFETY: `new` found the features present, and there is no other way to make a `Self`.
            unsafe { apply(&self.round_keys, iv, data) }
        }
    }
}

/// AES-GCM: the expanded key and the powers of the hash key, highest first, in POLYVAL's representation (RFC 8452 appendix A).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Gcm<const N: usize> {
    #[zeroize(skip)]
    aes: Aes<N>,
    powers: [Block; POWERS],
}

impl<const N: usize> Gcm<N> {
    /// Keys it. Panics as [`Aes::new`] does.
    pub(super) fn new(key: &[u8], wide: bool) -> Self {
        let mut this = Self { aes: Aes::new(key, wide), powers: [[0; 16]; POWERS] };
        // JUSTIFICATION: as for `seal`; the powers must be in the form that `seal` multiplies with.
        // SAFETY: `Aes::new` found the features present.
        unsafe { raise(&this.aes.round_keys, &mut this.powers) };
        this
    }

    /// Encrypts `text` and returns the tag over `aad` and the result. `nonce` is the counter block with counter 0, a big-endian number.
    #[inline]
    pub(super) fn seal(&self, nonce: u128, aad: &[u8], text: &mut [u8]) -> Block {
        let (keys, powers) = (&self.aes.round_keys, &self.powers);
        match self.pairs(aad, text) {
            // JUSTIFICATION: the wide way takes two thirds of the instructions of the narrow one.
            // SAFETY: `Aes::new` found the features present, the wide ones too where it is wide.
            Some(FEW) => unsafe { seal_wide::<N, FEW>(keys, powers, nonce, aad, text) },
            // JUSTIFICATION: as above.
            // SAFETY: as above.
            Some(_) => unsafe { seal_wide::<N, MANY>(keys, powers, nonce, aad, text) },
            // JUSTIFICATION: protect_rtp of 160 bytes with AES-128-GCM takes 78 ns against 265 ns on the portable path (EPYC Turin).
            // SAFETY: `Aes::new` found the features present.
            None => unsafe { seal(keys, powers, nonce, aad, text) },
        }
    }

    /// Decrypts `text` if `tag` is the one over `aad` and it; else changes nothing and returns false.
    #[inline]
    pub(super) fn open(&self, nonce: u128, aad: &[u8], text: &mut [u8], tag: &Block) -> bool {
        let (keys, powers) = (&self.aes.round_keys, &self.powers);
        match self.pairs(aad, text) {
            // JUSTIFICATION: as for `seal`.
            // SAFETY: as for `seal`.
            Some(FEW) => unsafe { open_wide::<N, FEW>(keys, powers, nonce, aad, text, tag) },
            // JUSTIFICATION: as for `seal`.
            // SAFETY: as for `seal`.
            Some(_) => unsafe { open_wide::<N, MANY>(keys, powers, nonce, aad, text, tag) },
            // JUSTIFICATION: unprotect_rtp of 160 bytes with AES-128-GCM takes 96 ns against 280 ns on the portable path (EPYC Turin).
            // SAFETY: `Aes::new` found the features present.
            None => unsafe { open(keys, powers, nonce, aad, text, tag) },
        }
    }

    /// Pairs of blocks in flight on the wide way: none if it is not to be had, or the packet is too long for one pass.
    #[inline]
    fn pairs(&self, aad: &[u8], text: &[u8]) -> Option<usize> {
        let blocks = text.len().div_ceil(16);
        // One block of the lengths is hashed behind both.
        let fits = self.aes.wide && aad.len() <= 16 && blocks + 2 <= POWERS;
        fits.then_some(if blocks < 2 * FEW { FEW } else { MANY })
    }
}

/// FIPS 197 section 5.2, with words in little-endian order.
#[target_feature(enable = "aes,avx2")]
fn expand<const N: usize>(key: &[u8], round_keys: &mut [Block; N]) {
    let key_words = key.len() / 4;
    let words = round_keys.as_flattened_mut().as_chunks_mut::<4>().0;
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = *bytes;
    }
    let mut rcon = 1u32;
    for at in key_words..4 * N {
        let mut word = u32::from_le_bytes(words[at - 1]);
        if at.is_multiple_of(key_words) {
            word = substitute(word).rotate_right(8) ^ rcon;
            rcon = rcon << 1 ^ if rcon & 0x80 != 0 { 0x11b } else { 0 };
        } else if key_words > 6 && at % key_words == 4 {
            word = substitute(word);
        }
        words[at] = (u32::from_le_bytes(words[at - key_words]) ^ word).to_le_bytes();
    }
}

/// The S-box on each byte of a word: lane 0 of the instruction's result is the substitution of lane 1 of its operand.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn substitute(word: u32) -> u32 {
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word.cast_signed()))).cast_unsigned()
}

/// The key stream blocks of `LANES` counters from `counter` on; bytes 12 to 16 of `iv` are replaced by the counter.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn keystream<const N: usize, const LANES: usize>(round_keys: &[Block; N], iv: __m128i, counter: u32) -> [__m128i; LANES] {
    let first = load(&round_keys[0]);
    let mut lanes = [first; LANES];
    for (lane, at) in lanes.iter_mut().zip(counter..) {
        *lane = _mm_xor_si128(_mm_insert_epi32::<3>(iv, at.swap_bytes().cast_signed()), first);
    }
    for round_key in &round_keys[1..N - 1] {
        let round_key = load(round_key);
        for lane in &mut lanes {
            *lane = _mm_aesenc_si128(*lane, round_key);
        }
    }
    let last = load(&round_keys[N - 1]);
    for lane in &mut lanes {
        *lane = _mm_aesenclast_si128(*lane, last);
    }
    lanes
}

#[inline]
#[target_feature(enable = "aes,avx2")]
fn apply<const N: usize>(round_keys: &[Block; N], iv: u128, data: &mut [u8]) {
    let mut counter = iv as u32;
    let iv = counter_block(iv);
    for part in data.chunks_mut(16 * LANES) {
        match part.len().div_ceil(16) {
            0..=2 => xor(part, &keystream::<N, 2>(round_keys, iv, counter)),
            3..=6 => xor(part, &keystream::<N, 6>(round_keys, iv, counter)),
            7..=10 => xor(part, &keystream::<N, 10>(round_keys, iv, counter)),
            _ => xor(part, &keystream::<N, LANES>(round_keys, iv, counter)),
        }
        counter = counter.wrapping_add(LANES as u32);
    }
}

/// XORs `data`, at most as long as `stream`, with it.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn xor(data: &mut [u8], stream: &[__m128i]) {
    let (blocks, rest) = data.as_chunks_mut::<16>();
    for (block, key) in blocks.iter_mut().zip(stream) {
        let mixed = _mm_xor_si128(load(block), *key);
        store(block, mixed);
    }
    if !rest.is_empty() {
        let mut key = [0; 16];
        store(&mut key, stream[blocks.len()]);
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// NIST SP 800-38D section 7.1. The mask of the tag is the block of counter 1, the text begins with counter 2.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn seal<const N: usize>(round_keys: &[Block; N], powers: &[Block; POWERS], nonce: u128, aad: &[u8], text: &mut [u8]) -> Block {
    const FIRST: usize = 16 * (LANES - 1);
    let block = counter_block(nonce);
    let mask = if text.len() <= 16 * 5 {
        let [mask, stream @ ..] = keystream::<N, 6>(round_keys, block, 1);
        xor(text, &stream);
        mask
    } else {
        let [mask, stream @ ..] = keystream::<N, LANES>(round_keys, block, 1);
        let (head, rest) = text.split_at_mut(text.len().min(FIRST));
        xor(head, &stream);
        if !rest.is_empty() {
            apply(round_keys, nonce | (1 + LANES as u128), rest);
        }
        mask
    };
    bytes(finish(powers, aad, text, mask))
}

#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn open<const N: usize>(round_keys: &[Block; N], powers: &[Block; POWERS], nonce: u128, aad: &[u8], text: &mut [u8], tag: &Block) -> bool {
    let [mask] = keystream::<N, 1>(round_keys, counter_block(nonce), 1);
    let holds = is_equal(finish(powers, aad, text, mask), tag);
    if holds {
        apply(round_keys, nonce | 2, text);
    }
    holds
}

/// In constant time: one comparison of all bits.
#[inline]
#[target_feature(enable = "avx2")]
fn is_equal(tag: __m128i, expected: &Block) -> bool {
    let differ = _mm_xor_si128(tag, load(expected));
    _mm_testz_si128(differ, differ) == 1
}

/// GHASH over `aad`, `text` and their lengths, masked. Blocks are collected in groups of [`POWERS`], so that the products of a group stay in
/// registers and are reduced once.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn finish(powers: &[Block; POWERS], aad: &[u8], text: &[u8], mask: __m128i) -> __m128i {
    let mut group = [_mm_setzero_si128(); POWERS];
    let mut used = 0;
    for part in [aad, text] {
        let (blocks, rest) = part.as_chunks::<16>();
        for block in blocks {
            // A full group becomes the first block of the next one.
            if used == POWERS {
                group[0] = _mm_xor_si128(hash(powers, &group), reversed(load(block)));
                used = 0;
            } else {
                group[used] = reversed(load(block));
            }
            used += 1;
        }
        if !rest.is_empty() {
            let block = reversed(load_padded(rest));
            if used == POWERS {
                group[0] = _mm_xor_si128(hash(powers, &group), block);
                used = 0;
            } else {
                group[used] = block;
            }
            used += 1;
        }
    }
    let lengths = _mm_set_epi64x((aad.len() as i64) << 3, (text.len() as i64) << 3);
    if used == POWERS {
        group[0] = _mm_xor_si128(hash(powers, &group), lengths);
        used = 0;
    } else {
        group[used] = lengths;
    }
    _mm_xor_si128(reversed(hash(powers, &group[..=used])), mask)
}

/// The sum of each block times its power: the last one times the first power.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn hash(powers: &[Block; POWERS], group: &[__m128i]) -> __m128i {
    let mut sum = Product::zero();
    for (block, power) in group.iter().zip(&powers[POWERS - group.len()..]) {
        sum.add(*block, load(power));
    }
    sum.reduce()
}

/// A sum of unreduced 256-bit products.
struct Product {
    low: __m128i,
    middle: __m128i,
    high: __m128i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2")]
    fn zero() -> Self {
        let zero = _mm_setzero_si128();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2")]
    fn add(&mut self, a: __m128i, b: __m128i) {
        // Karatsuba: three products instead of four; `reduce` takes low and high out of the middle again.
        let (a_sum, b_sum) = (_mm_xor_si128(a, _mm_shuffle_epi32::<0x4e>(a)), _mm_xor_si128(b, _mm_shuffle_epi32::<0x4e>(b)));
        self.low = _mm_xor_si128(self.low, _mm_clmulepi64_si128::<0x00>(a, b));
        self.high = _mm_xor_si128(self.high, _mm_clmulepi64_si128::<0x11>(a, b));
        self.middle = _mm_xor_si128(self.middle, _mm_clmulepi64_si128::<0x00>(a_sum, b_sum));
    }

    /// Reduces modulo x^128 + x^127 + x^126 + x^121 + 1, times x^-128: two folds of the low half, 64 bits each.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2")]
    fn reduce(&self) -> __m128i {
        let polynomial = _mm_set_epi64x(0, (0xc2u64 << 56).cast_signed());
        let middle = _mm_xor_si128(self.middle, _mm_xor_si128(self.low, self.high));
        let mut low = _mm_xor_si128(self.low, _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(self.high, _mm_srli_si128::<8>(middle));
        for _ in 0..2 {
            let folded = _mm_clmulepi64_si128::<0x00>(low, polynomial);
            low = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(low), folded);
        }
        _mm_xor_si128(high, low)
    }
}

/// The powers of the hash key, which is the encryption of zero. POLYVAL's product carries a factor x^-128, GHASH's bits run the other
/// way; multiplying the key by x once makes up for both (RFC 8452 appendix A).
#[target_feature(enable = "aes,pclmulqdq,avx2")]
fn raise<const N: usize>(round_keys: &[Block; N], powers: &mut [Block; POWERS]) {
    const POLYNOMIAL: u128 = 0xc2 << 120 | 1;
    const LAST: usize = POWERS - 1;
    let [hash_key] = keystream::<N, 1>(round_keys, _mm_setzero_si128(), 0);
    store(&mut powers[LAST], hash_key);
    let key = u128::from_be_bytes(powers[LAST]);
    powers[LAST] = (key << 1 ^ POLYNOMIAL & (key >> 127).wrapping_neg()).to_le_bytes();
    let first = load(&powers[LAST]);
    for at in (0..LAST).rev() {
        let mut product = Product::zero();
        product.add(load(&powers[at + 1]), first);
        store(&mut powers[at], product.reduce());
    }
}

/// The key stream blocks of `P` pairs of counters, each below 256; the counter in `iv` is 0.
#[inline]
#[target_feature(enable = "aes,vaes,avx2")]
fn keystream_wide<const N: usize, const P: usize>(round_keys: &[Block; N], iv: u128, counters: [(u8, u8); P]) -> [__m256i; P] {
    let whitened = _mm256_broadcastsi128_si256(_mm_xor_si128(counter_block(iv), load(&round_keys[0])));
    // The counter's lowest byte is the last one of its block.
    let place = |counter: u8| (u64::from(counter) << 56).cast_signed();
    let mut lanes = [whitened; P];
    for (lane, (low, high)) in lanes.iter_mut().zip(counters) {
        *lane = _mm256_xor_si256(whitened, _mm256_set_epi64x(place(high), 0, place(low), 0));
    }
    for round_key in &round_keys[1..N - 1] {
        let round_key = _mm256_broadcastsi128_si256(load(round_key));
        for lane in &mut lanes {
            *lane = _mm256_aesenc_epi128(*lane, round_key);
        }
    }
    let last = _mm256_broadcastsi128_si256(load(&round_keys[N - 1]));
    for lane in &mut lanes {
        *lane = _mm256_aesenclast_epi128(*lane, last);
    }
    lanes
}

#[inline]
#[target_feature(enable = "aes,vaes,avx2")]
fn apply_wide<const N: usize>(round_keys: &[Block; N], iv: u128, data: &mut [u8]) {
    match data.len().div_ceil(32) {
        0..=2 => xor_wide(data, &keystream_wide::<N, 2>(round_keys, iv, [(0, 1), (2, 3)])),
        3 => xor_wide(data, &keystream_wide::<N, 3>(round_keys, iv, [(0, 1), (2, 3), (4, 5)])),
        4..=5 => xor_wide(data, &keystream_wide::<N, 5>(round_keys, iv, [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)])),
        _ => xor_wide(data, &keystream_wide::<N, MANY>(round_keys, iv, [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)])),
    }
}

/// XORs `data`, at most as long as `stream`, with it.
#[inline]
#[target_feature(enable = "aes,avx2")]
fn xor_wide<const P: usize>(data: &mut [u8], stream: &[__m256i; P]) {
    let (pairs, rest) = data.as_chunks_mut::<32>();
    // By the stream, whose length is known: it stays in registers.
    for (at, key) in stream.iter().enumerate() {
        let Some(pair) = pairs.get_mut(at) else {
            if !rest.is_empty() {
                xor(rest, &halves(*key));
            }
            return;
        };
        let mixed = _mm256_xor_si256(load_pair(pair), *key);
        store_pair(pair, mixed);
    }
}

/// The mask of the tag, and the key stream of the text: counters from 2 on. The mask's pair comes last and has the text's last block as its other half.
#[inline]
#[target_feature(enable = "aes,vaes,avx2")]
fn masked_keystream<const N: usize, const P: usize>(round_keys: &[Block; N], nonce: u128) -> (__m128i, [__m256i; P]) {
    let mut counters = [(0, 0); P];
    for (pair, low) in counters.iter_mut().zip((2..).step_by(2)) {
        *pair = (low, low + 1);
    }
    counters[P - 1] = (2 * P as u8, 1);
    let stream = keystream_wide::<N, P>(round_keys, nonce, counters);
    (_mm256_extracti128_si256::<1>(stream[P - 1]), stream)
}

/// NIST SP 800-38D section 7.1, in one pass. At most one block of `aad` and `2 * P - 1` of text.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,vaes,vpclmulqdq,avx2")]
fn seal_wide<const N: usize, const P: usize>(
    round_keys: &[Block; N],
    powers: &[Block; POWERS],
    nonce: u128,
    aad: &[u8],
    text: &mut [u8],
) -> Block {
    let (mask, stream) = masked_keystream::<N, P>(round_keys, nonce);
    xor_wide(text, &stream);
    bytes(_mm_xor_si128(hash_wide(powers, aad, text), mask))
}

/// NIST SP 800-38D section 7.2: nothing is decrypted before the tag holds.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,vaes,vpclmulqdq,avx2")]
fn open_wide<const N: usize, const P: usize>(
    round_keys: &[Block; N],
    powers: &[Block; POWERS],
    nonce: u128,
    aad: &[u8],
    text: &mut [u8],
    tag: &Block,
) -> bool {
    let (mask, stream) = masked_keystream::<N, P>(round_keys, nonce);
    let holds = is_equal(_mm_xor_si128(hash_wide(powers, aad, text), mask), tag);
    if holds {
        xor_wide(text, &stream);
    }
    holds
}

/// GHASH over `aad` of at most one block, `text` and their lengths, which are no more than [`POWERS`] blocks together.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,vpclmulqdq,avx2")]
fn hash_wide(powers: &[Block; POWERS], aad: &[u8], text: &[u8]) -> __m128i {
    let (pairs, rest) = text.as_chunks::<32>();
    let blocks = text.len().div_ceil(16);
    // Powers of the text: the lengths take the first one.
    let powers_of_text = &powers[POWERS - 1 - blocks..POWERS - 1];
    let (pair_powers, rest_powers) = powers_of_text.split_at(2 * pairs.len());
    let lengths = _mm_set_epi64x((aad.len() as i64) << 3, (text.len() as i64) << 3);
    let ends = _mm256_set_m128i(lengths, reversed(load_padded(aad)));
    // The header's power; without a header its block is zero, and no power matters.
    let ends_powers = _mm256_set_m128i(load(&powers[POWERS - 1]), load(&powers[POWERS - 2 - blocks]));
    let mut sum = WideProduct::new(ends, ends_powers);
    for (pair, power) in pairs.iter().zip(pair_powers.as_chunks::<2>().0) {
        sum.add(reversed_pair(load_pair(pair)), load_pair(power.as_flattened().first_chunk().expect("two blocks")));
    }
    let mut sum = sum.folded();
    let (block, rest) = rest.as_chunks::<16>();
    for (block, power) in block.iter().zip(rest_powers) {
        sum.add(reversed(load(block)), load(power));
    }
    if let (false, Some(power)) = (rest.is_empty(), powers_of_text.last()) {
        sum.add(reversed(load_padded(rest)), load(power));
    }
    reversed(sum.reduce())
}

/// Two sums of unreduced 256-bit products, one per half. By four products, not Karatsuba's three: the sums of halves would cost as much as the product they save.
struct WideProduct {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl WideProduct {
    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx2")]
    fn new(a: __m256i, b: __m256i) -> Self {
        Self {
            low: _mm256_clmulepi64_epi128::<0x00>(a, b),
            middle: _mm256_xor_si256(_mm256_clmulepi64_epi128::<0x01>(a, b), _mm256_clmulepi64_epi128::<0x10>(a, b)),
            high: _mm256_clmulepi64_epi128::<0x11>(a, b),
        }
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,avx2")]
    fn add(&mut self, a: __m256i, b: __m256i) {
        let product = Self::new(a, b);
        self.low = _mm256_xor_si256(self.low, product.low);
        self.middle = _mm256_xor_si256(self.middle, product.middle);
        self.high = _mm256_xor_si256(self.high, product.high);
    }

    /// Both halves together, in Karatsuba's form.
    #[inline]
    #[target_feature(enable = "aes,pclmulqdq,avx2")]
    fn folded(&self) -> Product {
        let fold = |sum| {
            let [low, high] = halves(sum);
            _mm_xor_si128(low, high)
        };
        let (low, high) = (fold(self.low), fold(self.high));
        Product { low, middle: _mm_xor_si128(fold(self.middle), _mm_xor_si128(low, high)), high }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(pair: __m256i) -> [__m128i; 2] {
    [_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair)]
}

/// A big-endian number as a block. It never goes through memory: a load right behind narrower stores waits for them.
#[inline]
#[target_feature(enable = "avx2")]
fn counter_block(iv: u128) -> __m128i {
    _mm_set_epi64x((iv as u64).swap_bytes().cast_signed(), ((iv >> 64) as u64).swap_bytes().cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn reversed(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f))
}

#[inline]
#[target_feature(enable = "avx2")]
fn reversed_pair(pair: __m256i) -> __m256i {
    let order = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    _mm256_shuffle_epi8(pair, _mm256_broadcastsi128_si256(order))
}

/// Up to 16 bytes, padded with zeros. Two overlapping reads cover each length without a loop.
#[inline]
#[target_feature(enable = "avx2")]
fn load_padded(bytes: &[u8]) -> __m128i {
    let n = bytes.len();
    let (low, high) = if let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        // The tail overlaps the head by 16 - n bytes, which are shifted out; a shift by 64 is asked for in two steps.
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail) >> (4 * (16 - n)) >> (4 * (16 - n)))
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << (8 * (n - 4)), 0)
    } else {
        (bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
    };
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(block: &Block) -> __m128i {
    // JUSTIFICATION: one instruction per block; it is a part of what `Aes::apply` and `Gcm::seal` measure.
    // SAFETY: `block` is 16 readable bytes, and this load wants no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(block: &mut Block, value: __m128i) {
    // JUSTIFICATION: as for `load`.
    // SAFETY: `block` is 16 writable bytes, and this store wants no alignment.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes(value: __m128i) -> Block {
    let mut out = [0; 16];
    store(&mut out, value);
    out
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_pair(pair: &[u8; 32]) -> __m256i {
    // JUSTIFICATION: as for `load`.
    // SAFETY: `pair` is 32 readable bytes, and this load wants no alignment.
    unsafe { _mm256_loadu_si256(pair.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_pair(pair: &mut [u8; 32], value: __m256i) {
    // JUSTIFICATION: as for `load`.
    // SAFETY: `pair` is 32 writable bytes, and this store wants no alignment.
    unsafe { _mm256_storeu_si256(pair.as_mut_ptr().cast(), value) }
}
