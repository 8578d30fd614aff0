//! Session keys from a master key and a master salt (RFC 3711 section 4.3, RFC 6188 section 3, RFC 7714 section 11).
//!
//! Given: master key, master salt, label. Decides: the derived bytes. Refuses: key derivation rates other than zero, so keys are derived
//! once per call and never on the packet path.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};

/// What a derived key is for (RFC 3711 section 4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    /// SRTP encryption key.
    RtpEncryption = 0,
    /// SRTP authentication key.
    RtpAuthentication = 1,
    /// SRTP salt.
    RtpSalt = 2,
    //= rfc3711#section-4.3.2  labels 3 to 5
    /// SRTCP encryption key.
    RtcpEncryption = 3,
    /// SRTCP authentication key.
    RtcpAuthentication = 4,
    /// SRTCP salt.
    RtcpSalt = 5,
}

/// Fills `out` with the key stream that belongs to `label`.
///
/// `master_key` has 16 or 32 bytes, `master_salt` 12 or 14; a 12-byte salt is padded with zeros on the right (RFC 7714 section 11).
/// Panics on other lengths: set-up path.
//= rfc3711#section-4.3.1  x = key_id XOR master_salt, key_id = label || 0 with a derivation rate of zero (R1)
//= rules#R1
pub(super) fn derive(master_key: &[u8], master_salt: &[u8], label: Label, out: &mut [u8]) {
    assert!(matches!(master_salt.len(), 12 | 14), "an SRTP master salt has 12 or 14 bytes");
    let mut iv = [0; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    // label << 48, counted from the right end of a 14-byte salt: byte 14 - 1 - 6.
    iv[7] ^= label as u8;
    out.fill(0);
    match master_key.len() {
        16 => keystream::<ctr::Ctr128BE<Aes128>>(master_key, iv, out),
        32 => keystream::<ctr::Ctr128BE<Aes256>>(master_key, iv, out),
        _ => panic!("an SRTP master key has 16 or 32 bytes"),
    }
}

fn keystream<C: KeyIvInit + StreamCipher>(key: &[u8], iv: [u8; 16], out: &mut [u8]) {
    let mut cipher = C::new_from_slices(key, &iv).expect("both lengths were checked by the caller");
    cipher.apply_keystream(out);
}
