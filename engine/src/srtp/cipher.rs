//! Session keys of one direction: what is encrypted, what the tag covers and where it stands.
//!
//! Given: master keys once; then whole packets, header length and packet index. Decides: initialisation vectors (R2), coverage (R3), order of
//! tag and SRTCP index (R4), tag lengths (R5), and which code path does the arithmetic. Refuses: which index a packet has, replay, limits.
//!
//! Keys sit behind one box per direction: they are written where they stay, are wiped where they stood, and take what their profile needs
//! and not more. Nothing here allocates after `new`.

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128Enc, Aes256Enc};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Profile;
use super::hmac::HmacSha1;
use super::kdf::{Label, derive};
use super::layout::RTCP_CLEAR_BYTES;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::simd;

/// Bytes of the word that holds E and the SRTCP index.
pub(super) const RTCP_INDEX_BYTES: usize = 4;
/// The E bit of that word: the packet is encrypted (RFC 3711 section 3.4).
pub(super) const RTCP_ENCRYPTED: u32 = 1 << 31;

/// Which code may do the arithmetic. All give the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Path {
    /// Whatever is fastest on this processor.
    Best,
    /// As a processor that takes one block per instruction.
    #[cfg(test)]
    Narrow,
    /// Only the portable crates.
    Portable,
}

/// Session keys of one direction, for SRTP and for SRTCP.
pub(super) enum Suite {
    /// AES counter mode with HMAC-SHA1; tag of 10 or 4 bytes on SRTP, of 10 on SRTCP.
    Cm { keys: Box<[CmKeys; 2]>, rtp_tag_bytes: usize },
    /// AES-GCM; tag of 16 bytes on both.
    Gcm { keys: Box<[GcmKeys; 2]> },
}

const RTP: usize = 0;
const RTCP: usize = 1;
const CM_RTCP_TAG_BYTES: usize = 10;
const GCM_TAG_BYTES: usize = 16;

impl Suite {
    /// Derives the session keys. Wrong lengths panic: set-up path.
    pub(super) fn new(profile: Profile, master_key: &[u8], master_salt: &[u8], path: Path) -> Self {
        assert_eq!(master_key.len(), profile.key_bytes(), "master key of {}", profile.name());
        assert_eq!(master_salt.len(), profile.salt_bytes(), "master salt of {}", profile.name());
        let rtp = [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt];
        let rtcp = [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt];
        match profile {
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => Self::Cm {
                keys: Box::new([rtp, rtcp].map(|labels| CmKeys::new(master_key, master_salt, labels, path))),
                //= rfc5764#section-4.1.2  AES128_CM with HMAC_SHA1
                rtp_tag_bytes: profile.rtp_tag_bytes(),
            },
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                Self::Gcm { keys: Box::new([rtp, rtcp].map(|labels| GcmKeys::new(master_key, master_salt, labels, path))) }
            }
        }
    }

    /// Bytes behind an SRTP payload.
    #[inline]
    pub(super) fn rtp_trailer_bytes(&self) -> usize {
        match self {
            Self::Cm { rtp_tag_bytes, .. } => *rtp_tag_bytes,
            Self::Gcm { .. } => GCM_TAG_BYTES,
        }
    }

    /// Bytes behind an SRTCP payload: tag and index.
    //= rules#R5
    #[inline]
    pub(super) fn rtcp_trailer_bytes(&self) -> usize {
        RTCP_INDEX_BYTES
            + match self {
                //= rfc5764#section-4.1.2:tags  80 bits, also where SRTP has 32
                Self::Cm { .. } => CM_RTCP_TAG_BYTES,
                Self::Gcm { .. } => GCM_TAG_BYTES,
            }
    }

    /// Encrypts behind `header_bytes` and writes the tag. `packet` ends with room for exactly the trailer.
    //= rfc3711#section-4.2  M = authenticated portion || ROC (R3)
    //= rules#R3
    #[inline]
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_bytes: usize, ssrc: u32, index: u64) {
        let (body, trailer) = packet.split_at_mut(packet.len() - self.rtp_trailer_bytes());
        match self {
            Self::Cm { keys, .. } => {
                //= rfc3711#section-3.1  the payload, not the header
                let keys = &keys[RTP];
                keys.ctr.apply(keys.iv(ssrc, index), &mut body[header_bytes..]);
                let digest = keys.mac.digest(body, &roc(index));
                trailer.copy_from_slice(&digest[..trailer.len()]);
            }
            Self::Gcm { keys } => {
                let keys = &keys[RTP];
                let (header, text) = body.split_at_mut(header_bytes);
                let tag = keys.aead.seal(keys.nonce(ssrc, index), header, text);
                trailer.copy_from_slice(&tag);
            }
        }
    }

    /// Decrypts the payload if the tag at the end of `packet` holds; else changes nothing and returns false.
    #[inline]
    pub(super) fn open_rtp(&self, packet: &mut [u8], header_bytes: usize, ssrc: u32, index: u64) -> bool {
        let (body, tag) = packet.split_at_mut(packet.len() - self.rtp_trailer_bytes());
        match self {
            Self::Cm { keys, .. } => {
                let keys = &keys[RTP];
                let holds = holds(&keys.mac.digest(body, &roc(index)), tag);
                if holds {
                    keys.ctr.apply(keys.iv(ssrc, index), &mut body[header_bytes..]);
                }
                holds
            }
            Self::Gcm { keys } => {
                let keys = &keys[RTP];
                let (header, text) = body.split_at_mut(header_bytes);
                keys.aead.open(keys.nonce(ssrc, index), header, text, tag)
            }
        }
    }

    /// Encrypts an RTCP compound and writes tag and index. `packet` ends with room for exactly the trailer.
    //= rfc3711#section-3.4  the tag stands behind the index
    //= rfc7714#section-17  with GCM the tag stands before the index (R4)
    //= rules#R4
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) {
        let body_bytes = packet.len() - self.rtcp_trailer_bytes();
        let word = (RTCP_ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Cm { keys, .. } => {
                let keys = &keys[RTCP];
                keys.ctr.apply(keys.iv(ssrc, u64::from(index)), &mut packet[RTCP_CLEAR_BYTES..body_bytes]);
                let (covered, tag) = packet.split_at_mut(body_bytes + RTCP_INDEX_BYTES);
                covered[body_bytes..].copy_from_slice(&word);
                tag.copy_from_slice(&keys.mac.digest(covered, &[])[..CM_RTCP_TAG_BYTES]);
            }
            Self::Gcm { keys } => {
                let keys = &keys[RTCP];
                let aad = rtcp_aad(packet, word);
                let (body, trailer) = packet.split_at_mut(body_bytes);
                let tag = keys.aead.seal(keys.nonce(ssrc, u64::from(index)), &aad, &mut body[RTCP_CLEAR_BYTES..]);
                trailer[..GCM_TAG_BYTES].copy_from_slice(&tag);
                trailer[GCM_TAG_BYTES..].copy_from_slice(&word);
            }
        }
    }

    /// The word with E and index of an SRTCP packet that is at least a trailer long.
    #[inline]
    pub(super) fn rtcp_index_word(&self, packet: &[u8]) -> u32 {
        let at = match self {
            Self::Cm { .. } => packet.len() - CM_RTCP_TAG_BYTES - RTCP_INDEX_BYTES,
            Self::Gcm { .. } => packet.len() - RTCP_INDEX_BYTES,
        };
        let mut word = [0; RTCP_INDEX_BYTES];
        word.copy_from_slice(&packet[at..at + RTCP_INDEX_BYTES]);
        u32::from_be_bytes(word)
    }

    /// Decrypts an encrypted SRTCP packet behind its first 8 bytes if its tag holds; else changes nothing and returns false.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> bool {
        match self {
            Self::Cm { keys, .. } => {
                let keys = &keys[RTCP];
                let (covered, tag) = packet.split_at_mut(packet.len() - CM_RTCP_TAG_BYTES);
                let holds = holds(&keys.mac.digest(covered, &[]), tag);
                if holds {
                    let text = RTCP_CLEAR_BYTES..covered.len() - RTCP_INDEX_BYTES;
                    keys.ctr.apply(keys.iv(ssrc, u64::from(index)), &mut covered[text]);
                }
                holds
            }
            Self::Gcm { keys } => {
                let keys = &keys[RTCP];
                let (rest, word) = packet.split_at_mut(packet.len() - RTCP_INDEX_BYTES);
                let (body, tag) = rest.split_at_mut(rest.len() - GCM_TAG_BYTES);
                let aad = rtcp_aad(body, [word[0], word[1], word[2], word[3]]);
                keys.aead.open(keys.nonce(ssrc, u64::from(index)), &aad, &mut body[RTCP_CLEAR_BYTES..], tag)
            }
        }
    }
}

/// Counter mode with HMAC-SHA1, for SRTP or for SRTCP. The parts wipe themselves.
#[derive(ZeroizeOnDrop)]
pub(super) struct CmKeys {
    #[zeroize(skip)]
    ctr: Ctr,
    #[zeroize(skip)]
    mac: HmacSha1,
    /// Already in its place in the counter block, a big-endian number.
    salt: u128,
}

impl CmKeys {
    fn new(master_key: &[u8], master_salt: &[u8], [encryption, authentication, salting]: [Label; 3], path: Path) -> Self {
        let mut key = Zeroizing::new([0; 16]);
        let mut mac_key = Zeroizing::new([0; 20]);
        let mut salt = Zeroizing::new([0; 16]);
        derive(master_key, master_salt, encryption, &mut key[..]);
        derive(master_key, master_salt, authentication, &mut mac_key[..]);
        derive(master_key, master_salt, salting, &mut salt[..14]);
        Self { ctr: Ctr::new(&key, path), mac: HmacSha1::new(&mac_key[..]), salt: u128::from_be_bytes(*salt) }
    }

    //= rfc3711#section-4.1.1  IV = (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16)
    //= rules#R2
    #[inline]
    fn iv(&self, ssrc: u32, index: u64) -> u128 {
        self.salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16
    }
}

/// AES-GCM, for SRTP or for SRTCP. The parts wipe themselves.
#[derive(ZeroizeOnDrop)]
pub(super) struct GcmKeys {
    #[zeroize(skip)]
    aead: Aead,
    /// Already in its place in the counter block, a big-endian number.
    salt: u128,
}

impl GcmKeys {
    fn new(master_key: &[u8], master_salt: &[u8], [encryption, _, salting]: [Label; 3], path: Path) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..master_key.len()];
        let mut salt = Zeroizing::new([0; 16]);
        derive(master_key, master_salt, encryption, key);
        derive(master_key, master_salt, salting, &mut salt[..12]);
        Self { aead: Aead::new(key, path), salt: u128::from_be_bytes(*salt) }
    }

    //= rfc7714#section-8.1  00 00 || SSRC || ROC || SEQ, XOR salt; section 9.1: 00 00 || SSRC || 00 00 || SRTCP index
    //= rules#R2
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> u128 {
        // 48 bits either way: ROC and SEQ of SRTP, or 16 zero bits and the index of SRTCP.
        self.salt ^ u128::from(ssrc) << 80 ^ u128::from(index) << 32
    }
}

/// AES-128 in counter mode.
enum Ctr {
    #[cfg(target_arch = "x86_64")]
    Simd(simd::Aes<11>),
    /// Boxed: `aes` keeps room for its largest software key schedule, 704 bytes.
    Portable(Box<Aes128Enc>),
}

impl Ctr {
    fn new(key: &[u8; 16], path: Path) -> Self {
        #[cfg(target_arch = "x86_64")]
        if path != Path::Portable && simd::is_available() {
            return Self::Simd(simd::Aes::new(key, path == Path::Best && simd::is_wide()));
        }
        let _ = path;
        Self::Portable(Box::new(Aes128Enc::new(key.into())))
    }

    #[inline]
    fn apply(&self, iv: u128, data: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Simd(aes) => aes.apply(iv, data),
            Self::Portable(aes) => portable::apply_ctr(&**aes, &iv.to_be_bytes(), data),
        }
    }
}

/// AES-GCM with either key length.
enum Aead {
    #[cfg(target_arch = "x86_64")]
    Simd128(simd::Gcm<11>),
    #[cfg(target_arch = "x86_64")]
    Simd256(simd::Gcm<15>),
    Portable128(Box<portable::Gcm<Aes128Enc>>),
    Portable256(Box<portable::Gcm<Aes256Enc>>),
}

impl Aead {
    fn new(key: &[u8], path: Path) -> Self {
        #[cfg(target_arch = "x86_64")]
        if path != Path::Portable && simd::is_available() {
            let wide = path == Path::Best && simd::is_wide();
            return match key.len() {
                16 => Self::Simd128(simd::Gcm::new(key, wide)),
                _ => Self::Simd256(simd::Gcm::new(key, wide)),
            };
        }
        let _ = path;
        match key.len() {
            16 => Self::Portable128(Box::new(portable::Gcm::new(key))),
            _ => Self::Portable256(Box::new(portable::Gcm::new(key))),
        }
    }

    /// Encrypts `text` and returns the tag over `aad` and the result.
    #[inline]
    fn seal(&self, nonce: u128, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Simd128(gcm) => gcm.seal(nonce, aad, text),
            #[cfg(target_arch = "x86_64")]
            Self::Simd256(gcm) => gcm.seal(nonce, aad, text),
            Self::Portable128(gcm) => gcm.seal(&portable_nonce(nonce), aad, text),
            Self::Portable256(gcm) => gcm.seal(&portable_nonce(nonce), aad, text),
        }
    }

    /// Decrypts `text` if `tag`, of 16 bytes, is the one over `aad` and it; else changes nothing and returns false.
    #[inline]
    fn open(&self, nonce: u128, aad: &[u8], text: &mut [u8], tag: &[u8]) -> bool {
        let Some(tag) = tag.first_chunk::<GCM_TAG_BYTES>() else { return false };
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Simd128(gcm) => gcm.open(nonce, aad, text, tag),
            #[cfg(target_arch = "x86_64")]
            Self::Simd256(gcm) => gcm.open(nonce, aad, text, tag),
            Self::Portable128(gcm) => open_portable(gcm, nonce, aad, text, tag),
            Self::Portable256(gcm) => open_portable(gcm, nonce, aad, text, tag),
        }
    }
}

fn open_portable<C>(gcm: &portable::Gcm<C>, nonce: u128, aad: &[u8], text: &mut [u8], tag: &[u8; GCM_TAG_BYTES]) -> bool
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let nonce = portable_nonce(nonce);
    let holds = holds(&gcm.tag(&nonce, aad, text), tag);
    if holds {
        gcm.apply(&nonce, text);
    }
    holds
}

/// The first 12 bytes of a counter block.
#[inline]
fn portable_nonce(nonce: u128) -> [u8; 12] {
    *nonce.to_be_bytes().first_chunk().expect("16 bytes hold 12")
}

#[inline]
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

//= rfc7714#section-9.2  associated data: the first 8 octets and the word with E and index
#[inline]
fn rtcp_aad(packet: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(&packet[..RTCP_CLEAR_BYTES]);
    aad[8..].copy_from_slice(&word);
    aad
}

/// Compares in constant time the leading bytes of `expected` with `tag` (R19). By words: `subtle` hides each comparison from the optimiser,
/// and sixteen of them cost as much as a third of the packet's decryption.
//= rfc3711#section-9.5.1  in constant time
//= rules#R19
#[inline]
fn holds(expected: &[u8], tag: &[u8]) -> bool {
    let Some(expected) = expected.get(..tag.len()) else { return false };
    debug_assert!(matches!(tag.len(), 4 | 10 | 16));
    match (expected.first_chunk::<8>(), expected.last_chunk::<8>(), tag.first_chunk::<8>(), tag.last_chunk::<8>()) {
        // The two words overlap when the tag has 10 bytes.
        (Some(e0), Some(e1), Some(t0), Some(t1)) => {
            let differ = (u64::from_ne_bytes(*e0) ^ u64::from_ne_bytes(*t0)) | (u64::from_ne_bytes(*e1) ^ u64::from_ne_bytes(*t1));
            differ.ct_eq(&0).into()
        }
        _ => expected.ct_eq(tag).into(),
    }
}
