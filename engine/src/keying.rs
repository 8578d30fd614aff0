//! SRTP profiles and keying material: what DTLS makes and SRTP uses (RFC 5764 section 4.2).
//!
//! Layer 0, because siblings of layer 1 must not import each other. Refuses: how keys are made or used.

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
