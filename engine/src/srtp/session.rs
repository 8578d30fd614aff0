//! One direction of an SRTP session: the order of checks and the limits per key.
//!
//! Given: whole datagrams that demultiplexing took for RTP or RTCP. Decides: whether they are authentic, new and within the limits, and in
//! which order that is found out: lengths, index estimate, replay list, tag, room for the SSRC, decryption. Refuses: to change a byte of
//! the packet or of its own state before the tag holds (R7), and to end anything because of a packet (R17).

use core::fmt;

use super::Profile;
use super::cipher::{Path, RTCP_ENCRYPTED, Suite};
use super::index::{INDEX_END, NoIndex, advance, estimate};
use super::layout::{RtpLayout, rtcp_ssrc};
use super::sources::{Kind, Sources};
use crate::error::DropReason;
use crate::keying::Keying;

/// Protects what we send.
pub struct Sender {
    suite: Suite,
    profile: Profile,
    ssrc: Option<u32>,
    /// Index of the last packet protected.
    rtp_last: Option<u64>,
    /// SRTP packets that this key may still protect.
    rtp_left: u64,
    /// Index of the next SRTCP packet; `RTCP_INDEX_END` when the key is exhausted.
    rtcp_next: u32,
}

impl Sender {
    /// Keys it. `master_key` and `master_salt` have the profile's lengths; a wrong length panics (set-up path).
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Self {
        Self::on_path(profile, master_key, master_salt, Path::Best)
    }

    /// Keys it with our half of the exported keying material.
    pub fn from_keying(keying: &Keying) -> Self {
        let profile = keying.profile;
        Self::new(profile, &keying.local_key[..profile.key_bytes()], &keying.local_salt[..profile.salt_bytes()])
    }

    pub(super) fn on_path(profile: Profile, master_key: &[u8], master_salt: &[u8], path: Path) -> Self {
        Self {
            suite: Suite::new(profile, master_key, master_salt, path),
            profile,
            ssrc: None,
            rtp_last: None,
            rtp_left: rtp_packets_max(profile),
            rtcp_next: 0,
        }
    }

    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length. `buffer` must have `SRTP_TRAILER_BYTES_MAX` bytes
    /// of room behind `len`.
    ///
    /// Sequence numbers must come in order, one SSRC (R10): a repeated or older one is [`DropReason::Replay`], a second SSRC is
    /// [`DropReason::SsrcLimit`], and nothing was changed. The first sequence number should be below 2^15 (R11, kept by the RTP source):
    /// most receivers that lose the packets before an early wrap can never find the roll-over counter (ours can). [`DropReason::KeyExhausted`] after
    /// 2^31 packets with counter mode (RFC 5764 section 4.1.2) and at index 2^48 with GCM (R15). [`DropReason::NoRoom`] if `buffer` is too
    /// short.
    //= rules#R10
    #[inline]
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        let layout = RtpLayout::new(buffer.get(..len).ok_or(DropReason::NoRoom)?)?;
        let end = len + self.suite.rtp_trailer_bytes();
        let packet = buffer.get_mut(..end).ok_or(DropReason::NoRoom)?;
        if self.ssrc.is_some_and(|ssrc| ssrc != layout.ssrc) {
            //= rfc3711#section-9.1:ssrc  one SSRC per key
            return Err(DropReason::SsrcLimit);
        }
        //= rfc3711#section-9.1  a key stream is never used twice
        let index = advance(self.rtp_last, layout.seq).ok_or(DropReason::Replay)?;
        if index >= INDEX_END || self.rtp_left == 0 {
            return Err(DropReason::KeyExhausted);
        }
        self.suite.seal_rtp(packet, layout.header_bytes, layout.ssrc, index);
        self.ssrc = Some(layout.ssrc);
        self.rtp_last = Some(index);
        self.rtp_left -= 1;
        Ok(end)
    }

    /// Protects the RTCP compound in `buffer[..len]` in place and returns its new length. Room as for [`Self::protect_rtp`].
    ///
    /// Indexes count from 0 (R12). [`DropReason::KeyExhausted`] after 2^31 packets (R15).
    //= rules#R15
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, DropReason> {
        let ssrc = rtcp_ssrc(buffer.get(..len).ok_or(DropReason::NoRoom)?)?;
        let end = len + self.suite.rtcp_trailer_bytes();
        let packet = buffer.get_mut(..end).ok_or(DropReason::NoRoom)?;
        //= rfc3711#section-9.2  2^31 SRTCP packets
        if self.rtcp_next >= RTCP_INDEX_END {
            return Err(DropReason::KeyExhausted);
        }
        self.suite.seal_rtcp(packet, ssrc, self.rtcp_next);
        self.rtcp_next += 1;
        Ok(end)
    }

    /// The profile it was keyed for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Hook for tests and simulations: starts as if every SRTP index below `rtp_index` and every SRTCP index below `rtcp_index` had been
    /// used. Panics when something was sent already, because an index might be used twice then.
    #[doc(hidden)]
    pub fn start_at(&mut self, rtp_index: u64, rtcp_index: u32) {
        assert!(self.rtp_last.is_none() && self.rtcp_next == 0, "a sender can only be started once");
        self.rtp_last = rtp_index.checked_sub(1);
        self.rtcp_next = rtcp_index;
    }

    /// Hook for tests: as if all packets that the key may protect but these had been sent. Returns how many it could protect until now.
    #[cfg(test)]
    pub(super) fn wear_out(&mut self, packets_left: u64) -> u64 {
        core::mem::replace(&mut self.rtp_left, packets_left)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("profile", &self.profile)
            .field("ssrc", &self.ssrc)
            .field("rtp_last", &self.rtp_last)
            .finish_non_exhaustive()
    }
}

/// Opens what we receive.
pub struct Receiver {
    suite: Suite,
    profile: Profile,
    sources: Sources,
}

impl Receiver {
    /// Keys it. Lengths as for [`Sender::new`].
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Self {
        Self::on_path(profile, master_key, master_salt, Path::Best)
    }

    /// Keys it with the peer's half of the exported keying material.
    pub fn from_keying(keying: &Keying) -> Self {
        let profile = keying.profile;
        Self::new(profile, &keying.remote_key[..profile.key_bytes()], &keying.remote_salt[..profile.salt_bytes()])
    }

    pub(super) fn on_path(profile: Profile, master_key: &[u8], master_salt: &[u8], path: Path) -> Self {
        Self { suite: Suite::new(profile, master_key, master_salt, path), profile, sources: Sources::default() }
    }

    /// Authenticates and decrypts the SRTP packet in place; returns the length of the plain RTP packet.
    ///
    /// Nothing changes before the tag holds (R7): a packet that is dropped is still byte for byte what came in.
    /// [`DropReason::Truncated`] and [`DropReason::RtpMalformed`] for lengths and version, [`DropReason::Replay`] for an index seen before
    /// or older than 128 packets, [`DropReason::Auth`], [`DropReason::SsrcLimit`] for an authentic packet of one SSRC too many,
    /// [`DropReason::KeyExhausted`] behind index 2^48.
    //= rfc3711#section-3.3  index, replay check, authentication, decryption, update of ROC, s_l and replay list, in this order
    //= rules#R7
    //= rules#R16
    #[inline]
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let len = packet.len().checked_sub(self.suite.rtp_trailer_bytes()).ok_or(DropReason::Truncated)?;
        let RtpLayout { header_bytes, seq, ssrc } = RtpLayout::new(&packet[..len])?;
        let window = self.sources.window(ssrc, Kind::Rtp);
        let mut index = match estimate(window.highest(), seq) {
            Ok(index) => index,
            Err(NoIndex::BeforeStart) => return Err(DropReason::Replay),
            Err(NoIndex::PastEnd) => return Err(DropReason::KeyExhausted),
        };
        if !window.check(index) {
            return Err(DropReason::Replay);
        }
        if !self.suite.open_rtp(packet, header_bytes, ssrc, index) {
            if window.highest().is_some() || seq >= 0x8000 {
                return Err(DropReason::Auth);
            }
            index = self.index_after_lost_wrap(packet, header_bytes, ssrc, seq).ok_or(DropReason::Auth)?;
        }
        if let Err(reason) = self.sources.commit(ssrc, Kind::Rtp, index) {
            // The same bytes and the same tag again.
            self.suite.seal_rtp(packet, header_bytes, ssrc, index);
            return Err(reason);
        }
        Ok(len)
    }

    /// The index of the first packet we ever see of `ssrc`, if it is one from behind the first wrap and all before it were lost.
    ///
    /// RFC 3711 section 3.3.1 has such a receiver told the roll-over counter, and no signalling of ours tells it. The tag does: it covers the counter, so a guess that
    /// holds is no guess. One more tag for a packet that no key has vouched for, and none once its SSRC is known.
    //= rfc3711#section-3.3.1:lost-wrap  a source of which everything before its first wrap was lost
    #[cold]
    fn index_after_lost_wrap(&self, packet: &mut [u8], header_bytes: usize, ssrc: u32, seq: u16) -> Option<u64> {
        let index = 1 << 16 | u64::from(seq);
        self.suite.open_rtp(packet, header_bytes, ssrc, index).then_some(index)
    }

    /// Authenticates and decrypts the SRTCP packet in place; returns the length of the plain compound. Drops as
    /// [`Self::unprotect_rtp`] does, with [`DropReason::RtcpMalformed`] for the version.
    ///
    /// E = 0 is [`DropReason::NotEncrypted`], found before the tag is looked at because the packet is dropped either way (R13).
    //= rules#R12
    //= rules#R13
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let len = packet.len().checked_sub(self.suite.rtcp_trailer_bytes()).ok_or(DropReason::Truncated)?;
        let ssrc = rtcp_ssrc(&packet[..len])?;
        let word = self.suite.rtcp_index_word(packet);
        //= rfc3711#section-3.4:unencrypted  E = 0 is dropped
        if word & RTCP_ENCRYPTED == 0 {
            return Err(DropReason::NotEncrypted);
        }
        let index = word & !RTCP_ENCRYPTED;
        if !self.sources.window(ssrc, Kind::Rtcp).check(u64::from(index)) {
            return Err(DropReason::Replay);
        }
        if !self.suite.open_rtcp(packet, ssrc, index) {
            return Err(DropReason::Auth);
        }
        if let Err(reason) = self.sources.commit(ssrc, Kind::Rtcp, u64::from(index)) {
            self.suite.seal_rtcp(packet, ssrc, index);
            return Err(reason);
        }
        Ok(len)
    }

    /// The profile it was keyed for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    #[cfg(test)]
    pub(super) fn sources(&mut self) -> &mut Sources {
        &mut self.sources
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// SRTCP indexes are below this (RFC 3711 section 3.4).
const RTCP_INDEX_END: u32 = 1 << 31;

//= rfc3711#section-9.2  at most 2^48 SRTP packets per key; RFC 5764 section 4.1.2 sets 2^31 for the counter mode profiles (R15)
//= rfc5764#section-4.1.2:lifetime  2^31 packets of a counter-mode key
//= rules#R15
const fn rtp_packets_max(profile: Profile) -> u64 {
    match profile {
        Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => 1 << 31,
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => INDEX_END,
    }
}

const _: () = assert!(size_of::<Sender>() <= 96 && size_of::<Receiver>() <= 1_024);
