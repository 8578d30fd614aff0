//! AES counter mode and AES-GCM without code of our own that needs a particular processor.
//!
//! Given: session keys once, then nonces and bytes. Decides: nothing; it is arithmetic over RustCrypto's `aes`, `ctr` and `ghash`, which use
//! the processor's instructions where they find them. Refuses: what is covered by the tag and where it stands (`cipher.rs`).

use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher, consts::U16};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

/// XORs `data` with the key stream that starts at counter block `iv`.
///
/// The counter is the low 16 bits in SRTP's counter mode and the low 32 in GCM; packets are far too short for either to overflow.
#[inline]
pub(super) fn apply_ctr<C>(aes: &C, iv: &[u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let core = ctr::CtrCore::<&C, ctr::flavors::Ctr32BE>::inner_iv_init(aes, iv.into());
    aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}

/// AES-GCM with its hash key in the form that `ghash` wants.
pub(super) struct Gcm<C> {
    aes: C,
    ghash: GHash,
}

impl<C> Gcm<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    /// Keys it. A wrong length panics: set-up path.
    pub(super) fn new(key: &[u8]) -> Self {
        let aes = C::new_from_slice(key).expect("the profile names the key length");
        let mut hash_key = aes::Block::default();
        aes.encrypt_block(&mut hash_key);
        let ghash = GHash::new(&hash_key);
        zeroize::Zeroize::zeroize(hash_key.as_mut_slice());
        Self { aes, ghash }
    }

    /// XORs `text` with the key stream of `nonce`.
    #[inline]
    pub(super) fn apply(&self, nonce: &[u8; 12], text: &mut [u8]) {
        apply_ctr(&self.aes, &counter_block(nonce, 2), text);
    }

    /// Encrypts `text` and returns the tag over `aad` and the result.
    #[inline]
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.apply(nonce, text);
        self.tag(nonce, aad, text)
    }

    /// The tag over `aad` and the encrypted `text` (NIST SP 800-38D section 7.1).
    #[inline]
    pub(super) fn tag(&self, nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> [u8; 16] {
        let mut ghash = self.ghash.clone();
        ghash.update_padded(aad);
        ghash.update_padded(text);
        let mut lengths = [0; 16];
        lengths[..8].copy_from_slice(&((aad.len() as u64) << 3).to_be_bytes());
        lengths[8..].copy_from_slice(&((text.len() as u64) << 3).to_be_bytes());
        ghash.update(&[lengths.into()]);
        let mut tag: [u8; 16] = ghash.finalize().into();
        apply_ctr(&self.aes, &counter_block(nonce, 1), &mut tag);
        tag
    }
}

#[inline]
fn counter_block(nonce: &[u8; 12], counter: u32) -> [u8; 16] {
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block[12..].copy_from_slice(&counter.to_be_bytes());
    block
}
