//! The way up of a call: a pair, a handshake, keys, and what came too early.
//!
//! Given: what ICE and DTLS say. Decides: the next step, once each. Refuses: media (`media.rs`), and to go back a step.

use super::*;

impl Call {
    pub(super) fn drain_ice(&mut self, now: Time) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::Gathered => {
                    self.local.candidates = self.ice.local_candidates().to_vec();
                    self.local.complete = true;
                    self.recorder.note(Moment::Gathered { candidates: self.local.candidates.len().min(255) as u8 }, now);
                    self.push_event(CallEvent::LocalReady(Box::new(self.local.clone())));
                }
                IceEvent::Nominated { path, rtt } => self.path_ready(path, rtt, now),
                IceEvent::Failed(reason) => self.close(reason, now),
            }
        }
    }

    /// The one path of the call is known: keys are there already (SDES), or DTLS starts.
    pub(super) fn path_ready(&mut self, path: Path, rtt: Span, now: Time) {
        //= meta#R-26  once
        debug_assert!(self.path.is_none(), "a pair is nominated once (R-26)");
        self.path = Some(path);
        self.stats.milestones.ice_connected = Some(now);
        self.recorder.note(Moment::IceConnected { rtt }, now);
        self.push_event(CallEvent::IceConnected { path, rtt });
        match self.sdes.take() {
            Some(keying) => {
                self.recorder.note(Moment::SdesKeyed { profile: keying.profile }, now);
                self.keys_ready(&keying, now);
            }
            None => self.start_dtls(rtt, now),
        }
    }

    //= meta#R-25  DTLS starts only after the success response to the nominating check (I26)
    //= rfc5764#section-3  on the nominated pair
    //= rules#I26
    pub(super) fn start_dtls(&mut self, rtt: Span, now: Time) {
        let Some(remote) = &self.remote else { return };
        match Dtls::new(&self.config.dtls, self.dtls_role, &remote.fingerprints, rtt, now) {
            Ok(dtls) => {
                self.dtls = Some(dtls);
                self.state = State::Handshaking;
                self.recorder.note(Moment::DtlsStarted { client: self.dtls_role == DtlsRole::Client }, now);
                self.drain_dtls(now);
            }
            Err(_) => self.close(EndReason::DtlsFailed, now),
        }
    }

    //= rules#I33
    //= rules#D19
    pub(super) fn drain_dtls(&mut self, now: Time) {
        while let Some(event) = self.dtls.as_mut().and_then(Dtls::poll_event) {
            match event {
                DtlsEvent::Connected(keying) => {
                    self.dtls_role = self.dtls.as_ref().map_or(self.dtls_role, Dtls::role);
                    let grace = if self.dtls_role == DtlsRole::Client { TLS_GRACE_CLIENT } else { TLS_GRACE_SERVER };
                    self.tls_release_at = Some(now + grace);
                    self.stats.milestones.dtls_connected = Some(now);
                    self.recorder.note(Moment::DtlsConnected { profile: keying.profile }, now);
                    self.push_event(CallEvent::DtlsConnected { profile: keying.profile });
                    self.keys_ready(&keying, now);
                }
                DtlsEvent::Failed(reason) => self.close(reason, now),
            }
        }
    }

    //= rules#D18
    pub(super) fn keys_ready(&mut self, keying: &Keying, now: Time) {
        let Some(remote) = &self.remote else { return };
        //= rfc5764#section-5.1.1  no SRTP before the handshake is complete
        self.media = Some(Box::new(Media::new(keying, remote.media, self.config.jitter, self.config.complexity, self.port.as_ref())));
        self.state = State::Ready;
        self.clock = Some(FrameClock::start_at(now + Span::from_millis(FRAME_MS)));
        self.stats.profile = Some(keying.profile);
        self.push_event(CallEvent::MediaReady);
        self.play_early(now);
        if self.gate_wanted {
            self.open_gate(now);
        }
    }

    /// Keys without a handshake: fuzz bodies attack what lies behind it.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn assume_keys(&mut self, keying: &Keying, now: Time) {
        if self.state == State::Handshaking {
            self.dtls = None;
            self.keys_ready(keying, now);
        }
    }

    /// Gives the library's object back; only a ready-made close_notify stays. A server waits for media: it proves that our last flight arrived (D7).
    //= rules#D7
    pub(super) fn release_tls(&mut self, now: Time) {
        self.tls_release_at = None;
        if self.dtls_role == DtlsRole::Server && self.stats.milestones.first_rtp_in.is_none() {
            self.tls_release_at = Some(now + TLS_GRACE_SERVER);
            return;
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.release();
            self.recorder.note(Moment::TlsReleased, now);
        }
    }

    pub(super) fn play_early(&mut self, now: Time) {
        let early = core::mem::take(&mut self.early);
        if !early.is_empty() || self.early_dropped > 0 {
            self.recorder.note(Moment::EarlyPackets { kept: early.len() as u8, dropped: self.early_dropped }, now);
        }
        for (_, mut datagram) in early {
            let kind = classify(&datagram);
            if let Err(reason) = self.receive_media(kind, &mut datagram, now) {
                self.stats.drops.count(reason);
            }
        }
    }
}

/// Who sends the ClientHello, from both `a=setup` values (D20, `whatsapp-calling.md` 4.3).
//= rules#D20
pub(super) fn dtls_role(ours: SetupRole, theirs: SetupRole) -> Result<DtlsRole, SetupError> {
    match (ours, theirs) {
        (SetupRole::Active, SetupRole::Active) | (SetupRole::Passive, SetupRole::Passive) => {
            Err(SetupError::PeerIncompatible("both sides claim the same a=setup role"))
        }
        (SetupRole::Passive, _) | (SetupRole::ActPass, SetupRole::Active) => Ok(DtlsRole::Server),
        //= meta#R-28  client, unless the peer insists
        // `passive`, and the `actpass` that has been seen in answers.
        (SetupRole::Active, _) | (SetupRole::ActPass, _) => Ok(DtlsRole::Client),
    }
}
