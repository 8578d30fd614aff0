//! SRTP profiles and keying material: what DTLS makes (RFC 5764 section 4.2) or SDP carries (RFC 4568), and SRTP uses.
//!
//! Layer 0, because siblings of layer 1 must not import each other. Decides: which two master keys may serve one call. Refuses: how DTLS
//! makes keys, the SDP line around them, how they are used.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// An SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    /// AES-128 counter mode, HMAC-SHA1 with an 80-bit tag: 0x0001.
    Aes128CmSha1_80,
    /// AES-128 counter mode, HMAC-SHA1 with a 32-bit tag on SRTP, 80 on SRTCP: 0x0002.
    Aes128CmSha1_32,
    /// AES-128-GCM with a 128-bit tag: 0x0007.
    AeadAes128Gcm,
    /// AES-256-GCM with a 128-bit tag: 0x0008.
    AeadAes256Gcm,
}

impl Profile {
    /// Length of the master key in bytes: 16 or 32.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Length of the master salt in bytes: 14 or 12.
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes that SRTP protection adds behind the payload: 4, 10 or 16.
    pub const fn rtp_tag_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 10,
            Self::Aes128CmSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// The crypto-suite of `a=crypto` (RFC 4568 section 6.2, RFC 7714 section 14.2).
    pub const fn sdes_suite(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The profile of a crypto-suite; names are compared as written in upper or lower case. [`None`] for suites we do not have.
    pub fn of_sdes_suite(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.sdes_suite().eq_ignore_ascii_case(name))
    }

    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Aes128CmSha1_80, Self::Aes128CmSha1_32, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    /// The IANA name, as it stands in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "SRTP_AES128_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        }
    }
}

/// Master keys and salts of both directions, already sorted into ours and theirs (D16, D17). Wiped on drop.
//= rules#R19
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keying {
    /// The negotiated profile.
    #[zeroize(skip)]
    pub profile: Profile,
    /// Master key for what we send; the first `profile.key_bytes()` count.
    pub local_key: [u8; 32],
    /// Master salt for what we send; the first `profile.salt_bytes()` count.
    pub local_salt: [u8; 14],
    /// Master key for what we receive.
    pub remote_key: [u8; 32],
    /// Master salt for what we receive.
    pub remote_salt: [u8; 14],
}

impl core::fmt::Debug for Keying {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keying").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Keying {
    /// The keys of a call whose two ends told each other theirs in SDP: `local` protects what we send, `remote` what the peer sends.
    ///
    /// The error is a sentence. Refuses a pair of different profiles, and one in which both have the same key: both directions would use one key stream (RFC 4568
    /// section 6.1 wants a fresh key of each side), so a peer that repeats ours is broken or an attacker who reflects us.
    //= rfc4568#section-6.1  a key of its own for each direction
    pub fn of_sdes(local: &MasterKey, remote: &MasterKey) -> Result<Self, &'static str> {
        if local.profile != remote.profile {
            return Err("a=crypto: the two sides name different suites");
        }
        if bool::from(local.key.ct_eq(&remote.key)) {
            return Err("a=crypto: the peer repeats our own key, so both directions would share one key stream");
        }
        let profile = local.profile;
        Ok(Self { profile, local_key: local.key, local_salt: local.salt, remote_key: remote.key, remote_salt: remote.salt })
    }
}

/// Master key and salt of one direction, as `a=crypto` carries them behind `inline:` (RFC 4568 section 6.1). Wiped on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    profile: Profile,
    key: [u8; 32],
    salt: [u8; 14],
}

impl MasterKey {
    /// Splits `key || salt`; [`None`] unless they have exactly the profile's lengths.
    pub fn new(profile: Profile, bytes: &[u8]) -> Option<Self> {
        let (key_bytes, salt_bytes) = (profile.key_bytes(), profile.salt_bytes());
        if bytes.len() != key_bytes + salt_bytes {
            return None;
        }
        let mut this = Self { profile, key: [0; 32], salt: [0; 14] };
        this.key[..key_bytes].copy_from_slice(&bytes[..key_bytes]);
        this.salt[..salt_bytes].copy_from_slice(&bytes[key_bytes..]);
        Some(this)
    }

    /// Reads the base64 of `key || salt` (RFC 4648 section 4): the profile's length exactly, with its padding or without, no bit left over.
    pub fn from_base64(profile: Profile, text: &str) -> Option<Self> {
        let wanted = profile.key_bytes() + profile.salt_bytes();
        let digits = text.trim_end_matches('=');
        let padding = text.len() - digits.len();
        if digits.len() != (wanted * 8).div_ceil(6) || !(padding == 0 || padding == (3 - wanted % 3) % 3) {
            return None;
        }
        let mut bytes = [0u8; INLINE_BYTES_MAX + 2];
        let this = decode_base64(digits.as_bytes(), &mut bytes).and_then(|()| Self::new(profile, &bytes[..wanted]));
        bytes.zeroize();
        this
    }

    /// The base64 of `key || salt`, padded, for the line of our own SDP. The result is a secret.
    pub fn to_base64(&self) -> String {
        let mut bytes = [0u8; INLINE_BYTES_MAX];
        let (key_bytes, salt_bytes) = (self.profile.key_bytes(), self.profile.salt_bytes());
        bytes[..key_bytes].copy_from_slice(&self.key[..key_bytes]);
        bytes[key_bytes..key_bytes + salt_bytes].copy_from_slice(&self.salt[..salt_bytes]);
        let text = encode_base64(&bytes[..key_bytes + salt_bytes]);
        bytes.zeroize();
        text
    }

    /// The profile it is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile && bool::from(self.key.ct_eq(&other.key) & self.salt.ct_eq(&other.salt))
    }
}

impl Eq for MasterKey {}

impl core::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What our own SDES key is cut from: drawn once per call, used only if its peer keys by SDES. Wiped on drop, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SdesSecret([u8; INLINE_BYTES_MAX]);

impl SdesSecret {
    /// Draws one: `fill` writes random bytes.
    pub fn generate(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self([0; INLINE_BYTES_MAX]);
        fill(&mut secret.0);
        secret
    }

    /// Our master key for a call of this profile. The same at each call, so that all copies of our SDP agree.
    pub fn key(&self, profile: Profile) -> MasterKey {
        let bytes = &self.0[..profile.key_bytes() + profile.salt_bytes()];
        MasterKey::new(profile, bytes).expect("cut to the profile's length")
    }
}

impl core::fmt::Debug for SdesSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SdesSecret(..)")
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, &b| group << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = group >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[value as usize]) } else { '=' });
        }
    }
    text
}

/// Decodes unpadded digits into the front of `out`. [`None`] for a foreign character or bits that no byte takes.
fn decode_base64(digits: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut group, mut bits, mut at) = (0u32, 0, 0);
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *out.get_mut(at)? = (group >> bits) as u8;
            at += 1;
            group &= (1 << bits) - 1;
        }
    }
    (group == 0).then_some(())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The longest key with the longest salt: 32 and 14 bytes.
const INLINE_BYTES_MAX: usize = 46;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};
    use proptest::prelude::*;

    //= rfc4568#section-6.1 type=test
    #[test]
    fn inline_keys_of_the_rfc_are_read() {
        // RFC 4568 section 6.1 and section 10.1.2: 16 bytes of key, 14 of salt.
        let text = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
        let key = MasterKey::from_base64(Profile::Aes128CmSha1_80, text).expect("30 bytes");
        assert_eq!(&key.key[..16], b"wDfvg&T+)xG7@fb5");
        assert_eq!(&key.salt, b"jU,RaA}\\|p0%*#");
        assert_eq!(key.to_base64(), text);
    }

    #[test]
    fn wrong_lengths_padding_characters_and_bits_are_refused() {
        let of = MasterKey::from_base64;
        let good = "A".repeat(40);
        assert!(of(Profile::Aes128CmSha1_80, &good).is_some());
        for bad in
            ["", "A", &good[..39], &format!("{good}A"), &format!("{good}="), &good.replacen('A', "-", 1), &good.replacen('A', " ", 1)]
        {
            assert_eq!(of(Profile::Aes128CmSha1_80, bad), None, "{bad}");
        }
        // 28 bytes have 38 digits and two signs of padding, and their last digit carries two bits of data.
        let gcm = "A".repeat(38);
        for (text, is_good) in
            [(gcm.clone(), true), (format!("{gcm}=="), true), (format!("{gcm}="), false), (format!("{}B==", &gcm[1..]), false)]
        {
            assert_eq!(of(Profile::AeadAes128Gcm, &text).is_some(), is_good, "{text}");
        }
        assert_eq!(of(Profile::AeadAes256Gcm, &good), None);
        assert!(of(Profile::AeadAes256Gcm, &format!("{}=", "A".repeat(59))).is_some());
    }

    //= rfc4568#section-6.1 type=test
    #[test]
    fn a_mirrored_key_or_another_suite_is_no_pair() {
        let mut rng = SeededRng::new(7);
        let (ours, theirs) = (SdesSecret::generate(|out| rng.fill(out)), SdesSecret::generate(|out| rng.fill(out)));
        for profile in Profile::ALL {
            let keying = Keying::of_sdes(&ours.key(profile), &theirs.key(profile)).expect("two keys");
            assert_eq!(keying.local_key[..profile.key_bytes()], ours.0[..profile.key_bytes()]);
            assert_eq!(keying.remote_salt[..profile.salt_bytes()], theirs.0[profile.key_bytes()..][..profile.salt_bytes()]);
            assert!(Keying::of_sdes(&ours.key(profile), &ours.key(profile)).is_err());
            let mut other_salt = ours.key(profile);
            other_salt.salt[0] ^= 1;
            assert!(Keying::of_sdes(&ours.key(profile), &other_salt).is_err(), "the same key with another salt is no other key");
        }
        let (one, other) = (ours.key(Profile::Aes128CmSha1_80), theirs.key(Profile::AeadAes128Gcm));
        assert!(Keying::of_sdes(&one, &other).is_err());
        assert_ne!(one, other);
    }

    /// A type that does not wipe itself does not compile here.
    //= rules#R19 type=test
    #[test]
    fn r19_keys_are_wiped_when_they_are_dropped() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Keying>();
        wiped::<MasterKey>();
        wiped::<SdesSecret>();
    }

    //= rules#R19 type=test
    //= rules#G9 type=test
    #[test]
    fn secrets_are_not_shown() {
        let secret = SdesSecret([0x41; INLINE_BYTES_MAX]);
        let key = secret.key(Profile::Aes128CmSha1_80);
        let keying = Keying::of_sdes(&key, &SdesSecret([0x42; INLINE_BYTES_MAX]).key(Profile::Aes128CmSha1_80)).expect("two keys");
        let shown = format!("{secret:?} {key:?} {keying:?}");
        assert!(!shown.contains("65") && !shown.contains("AAAA") && !shown.contains("QUFB"), "{shown}");
    }

    #[test]
    fn suites_have_their_names() {
        for profile in Profile::ALL {
            assert_eq!(Profile::of_sdes_suite(profile.sdes_suite()), Some(profile));
            assert_eq!(Profile::of_sdes_suite(&profile.sdes_suite().to_ascii_lowercase()), Some(profile));
        }
        assert_eq!(Profile::of_sdes_suite("F8_128_HMAC_SHA1_80"), None);
        assert_eq!(Profile::of_sdes_suite("AES_256_CM_HMAC_SHA1_80"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in any::<[u8; INLINE_BYTES_MAX]>(), which in 0usize..4, flip in 0usize..60) {
            let key = SdesSecret(bytes).key(Profile::ALL[which]);
            let text = key.to_base64();
            prop_assert_eq!(MasterKey::from_base64(Profile::ALL[which], &text), Some(key.clone()));
            prop_assert_eq!(MasterKey::from_base64(Profile::ALL[which], text.trim_end_matches('=')), Some(key.clone()));
            let mut other = text.into_bytes();
            let at = flip % other.len();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            prop_assert_ne!(MasterKey::from_base64(Profile::ALL[which], core::str::from_utf8(&other).expect("ASCII")), Some(key));
        }
    }
}
