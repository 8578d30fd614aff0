//! Bridges and recordings in the configuration.
//!
//! Decides: which members fit which kind of bridge. Given: a section. Refuses: a recording that has nowhere to go.

use super::reader::{Reader, Section, nearest};
use super::{AudioTarget, BridgeConfig, BridgeKind, RecordConfig, audio, rtp};
use crate::control::{VOIP_ONLY, names_outside};

pub(super) fn read_bridge(r: &mut Reader<'_>, parent: &mut Section<'_, '_>, records: bool, targets: &[AudioTarget]) -> BridgeConfig {
    let mut s = parent.table(r, "bridge");
    let kind_text = s.str(r, "kind");
    let wav = s.path(r, "wav");
    let span = s.span.clone();
    let leg = rtp::read_leg(r, &mut s);
    let has_audio = s.is_set("ws");
    let audio = audio::read_bridge(r, &mut s, targets);
    for (kind, is_there) in [("rtp", leg.is_some()), ("ws", has_audio)] {
        if is_there != kind_text.as_ref().is_some_and(|(text, _)| *text == kind) {
            let fix = format!("set kind = \"{kind}\" and the table {kind}, or neither");
            r.fault(s.path_of(kind), Some(&span), "and the kind of the bridge do not fit together", fix);
        }
    }
    let kind = match (kind_text, wav) {
        (None | Some(("echo", _)), None) => BridgeKind::Echo,
        (Some(("rtp", _)), None) => leg.map_or(BridgeKind::Echo, |leg| BridgeKind::Rtp(Box::new(leg))),
        (Some(("ws", _)), None) => audio.map_or(BridgeKind::Echo, |audio| BridgeKind::Audio(Box::new(audio))),
        (Some(("play", _)), Some(path)) => BridgeKind::Play(path),
        (Some(("play_then_echo", _)), Some(path)) => BridgeKind::PlayThenEcho(path),
        (Some(("play" | "play_then_echo", _)), None) => {
            s.missing(r, "wav", "name the WAV file to play");
            BridgeKind::Echo
        }
        (None | Some(("echo" | "rtp" | "ws", _)), Some(_)) => {
            r.fault(s.path_of("wav"), Some(&span), "is set, but this bridge plays nothing", "set kind = \"play\" or \"play_then_echo\"");
            BridgeKind::Echo
        }
        //= meta#R-10  a telephone or a host that nobody listed is no bridge
        (Some((other, span)), _) if names_outside(other).is_some() => {
            let what = names_outside(other).unwrap_or_default();
            let fix = "bridge to an IP address of a [[trunk]], kind = \"rtp\"";
            r.fault(s.path_of("kind"), Some(&span), format!("{VOIP_ONLY}: is {what}"), fix);
            BridgeKind::Echo
        }
        (Some((other, span)), _) => {
            let fix = nearest(other, &BRIDGE_KINDS)
                .map_or_else(|| format!("use one of {}", BRIDGE_KINDS.join(", ")), |k| format!("did you mean \"{k}\"?"));
            r.fault(s.path_of("kind"), Some(&span), "is not a kind of bridge", fix);
            BridgeKind::Echo
        }
    };
    let record = s.bool(r, "record", false);
    if record && !records {
        r.fault(s.path_of("record"), Some(&span), "is on, but there is no [record] section", "add [record] with a directory");
    }
    s.finish(r);
    BridgeConfig { kind, record }
}

pub(super) fn read_record(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<RecordConfig> {
    let mut s = root.table(r, "record");
    if !s.is_present() {
        return None;
    }
    let directory = s.path(r, "directory");
    if directory.is_none() && s.value("directory").is_none() {
        s.missing(r, "directory", "name the directory for recordings");
    }
    let config = RecordConfig { directory: directory.unwrap_or_default(), ogg: s.bool(r, "ogg", true), wav: s.bool(r, "wav", true) };
    let span = s.span.clone();
    if !config.ogg && !config.wav {
        r.fault("record", Some(&span), "writes neither ogg nor wav", "switch one of the two on, or remove the section");
    }
    s.finish(r);
    Some(config)
}

/// Names of bridges in the file and in Direct mode.
const BRIDGE_KINDS: [&str; 5] = ["echo", "play", "play_then_echo", "rtp", "ws"];
