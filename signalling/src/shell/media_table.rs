//! Which media call of the engine belongs to which call of the session machine, and what it is joined to.
//!
//! Decides: whether a port that has finished is the one that is attached now. Given: what the control task has done. Refuses: to act on the engine itself.

use crate::config::BridgeConfig;
use crate::session::CallKey;
use crate::verdict::LocalCandidates;
use std::collections::HashMap;
use tipring_engine::call::{CallEvent, LocalParams};
use tipring_engine::engine::{CallId, RtpLegLocal};

/// The media calls of one daemon. A media call stays until the engine has said `Ended`, also when its call has let go of it before.
#[derive(Default)]
pub(super) struct MediaTable {
    by_call: HashMap<CallId, Media>,
    by_key: HashMap<CallKey, CallId>,
}

struct Media {
    key: CallKey,
    /// What our SDP offered.
    local: LocalCandidates,
    bridge: BridgeConfig,
    /// Our end of its plain RTP leg.
    rtp: Option<RtpLegLocal>,
    /// Ports attached after the one that it was opened with, as the engine counts them.
    ports_attached: u32,
}

impl MediaTable {
    /// A media call was opened.
    pub(super) fn opened(&mut self, key: CallKey, call: CallId, local: &LocalParams, bridge: BridgeConfig) {
        self.by_call.insert(call, Media { key, local: LocalCandidates::of(local), bridge, rtp: None, ports_attached: 0 });
        self.by_key.insert(key, call);
    }

    /// The call lets go of its media call, which still has to end.
    pub(super) fn let_go(&mut self, key: CallKey) -> Option<CallId> {
        self.by_key.remove(&key)
    }

    /// The media call has ended. What our SDP offered, for a verdict.
    pub(super) fn ended(&mut self, call: CallId) -> Option<LocalCandidates> {
        let media = self.by_call.remove(&call)?;
        self.by_key.remove(&media.key);
        Some(media.local)
    }

    /// The media call of a call.
    pub(super) fn call(&self, key: CallKey) -> Option<CallId> {
        self.by_key.get(&key).copied()
    }

    /// The call of a media call.
    pub(super) fn key(&self, call: CallId) -> Option<CallKey> {
        self.by_call.get(&call).map(|media| media.key)
    }

    /// Whether every media call has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// What a call is bridged to.
    pub(super) fn bridge(&self, key: CallKey) -> Option<&BridgeConfig> {
        self.by_call.get(self.by_key.get(&key)?).map(|media| &media.bridge)
    }

    /// Whether the event says that the far end which the call is joined to, and which takes the call with it, has left.
    ///
    /// A port that was exchanged meanwhile may have finished before: the call goes on with its successor.
    pub(super) fn is_left(&self, call: CallId, event: &CallEvent) -> bool {
        let Some(media) = self.by_call.get(&call) else { return false };
        *event == CallEvent::PortFinished { port: media.ports_attached } && media.bridge.kind.hangs_up()
    }

    /// Counts a port that was attached to a running call.
    pub(super) fn port_attached(&mut self, key: CallKey) {
        if let Some(media) = self.of(key) {
            media.ports_attached = media.ports_attached.wrapping_add(1);
        }
    }

    /// Remembers what a call is bridged to.
    pub(super) fn set_bridge(&mut self, key: CallKey, bridge: BridgeConfig, rtp: Option<RtpLegLocal>) {
        if let Some(media) = self.of(key) {
            (media.bridge, media.rtp) = (bridge, rtp);
        }
    }

    /// Our candidates are complete.
    pub(super) fn set_local(&mut self, call: CallId, local: &LocalParams) {
        if let Some(media) = self.by_call.get_mut(&call) {
            media.local = LocalCandidates::of(local);
        }
    }

    /// Our end of a call's plain RTP leg.
    pub(super) fn rtp(&self, key: CallKey) -> Option<RtpLegLocal> {
        self.by_call.get(self.by_key.get(&key)?).and_then(|media| media.rtp)
    }

    /// Remembers whether a call is recorded.
    pub(super) fn set_record(&mut self, key: CallKey, on: bool) {
        if let Some(media) = self.of(key) {
            media.bridge.record = on;
        }
    }

    fn of(&mut self, key: CallKey) -> Option<&mut Media> {
        self.by_call.get_mut(self.by_key.get(&key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AudioBridge, BridgeKind};
    use crate::stream::Dialect;
    use std::time::Duration;

    const KEY: CallKey = CallKey(7);
    const CALL: CallId = CallId(70);

    fn table(kind: BridgeKind) -> MediaTable {
        let mut table = MediaTable::default();
        table.by_call.insert(
            CALL,
            Media {
                key: KEY,
                local: LocalCandidates::default(),
                bridge: BridgeConfig { kind, record: false },
                rtp: None,
                ports_attached: 0,
            },
        );
        table.by_key.insert(KEY, CALL);
        table
    }

    fn audio(hangs_up: bool) -> BridgeKind {
        BridgeKind::Audio(Box::new(AudioBridge {
            url: "ws://127.0.0.1:9/".into(),
            dialect: Dialect::Twilio,
            parameters: Vec::new(),
            reconnects: 0,
            queue: Duration::from_secs(1),
            hangs_up,
        }))
    }

    const fn finished(port: u32) -> CallEvent {
        CallEvent::PortFinished { port }
    }

    #[test]
    fn an_audio_server_that_has_left_ends_its_call_unless_the_call_was_bridged_elsewhere() {
        let mut table = table(audio(true));
        assert!(table.is_left(CALL, &finished(0)));
        assert!(!table.is_left(CallId(71), &finished(0)));
        // Bridged to another server of the kind; what the first one said comes late.
        table.port_attached(KEY);
        table.set_bridge(KEY, BridgeConfig { kind: audio(true), record: false }, None);
        assert!(!table.is_left(CALL, &finished(0)), "the one that was exchanged");
        assert!(table.is_left(CALL, &finished(1)), "the one that is attached");
        table.set_bridge(KEY, BridgeConfig { kind: audio(false), record: false }, None);
        assert!(!table.is_left(CALL, &finished(1)), "its call outlives it");
    }

    #[test]
    fn a_media_call_outlives_the_hold_of_its_call() {
        let mut table = table(BridgeKind::Echo);
        assert_eq!((table.call(KEY), table.key(CALL)), (Some(CALL), Some(KEY)));
        assert_eq!(table.let_go(KEY), Some(CALL));
        assert_eq!((table.call(KEY), table.key(CALL), table.is_empty()), (None, Some(KEY), false));
        assert!(table.ended(CALL).is_some() && table.is_empty());
    }
}
