//! The frame that says nothing.

/// One 20 ms Opus packet of silence (CELT, full band, mono), known to be taken by Meta's relay (`whatsapp-calling.md` 5.5).
pub const SILENCE_PACKET: [u8; 3] = [0xf8, 0xff, 0xfe];
