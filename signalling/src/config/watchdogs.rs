//! The watchdogs over the media of a call in the configuration.
//!
//! Decides: names and bounds. Given: `[engine.watchdogs]`. Refuses: what quiet means; the engine's page says (`docs/protocols/rtp.md`).

use super::reader::{Reader, Section};
use tipring_engine::call::{Watchdog, WatchdogAction, Watchdogs};
use tipring_engine::time::Span;

/// Actions by name.
const ACTIONS: [(&str, WatchdogAction); 3] = [("off", WatchdogAction::Off), ("tell", WatchdogAction::Tell), ("end", WatchdogAction::End)];

/// `engine.watchdogs`.
pub(super) fn read(r: &mut Reader<'_>, parent: &mut Section<'_, '_>) -> Watchdogs {
    let default = Watchdogs::default();
    let mut s = parent.table(r, "watchdogs");
    let egress = read_one(r, &mut s, ["egress_s", "egress"], default.egress);
    let ingress = read_one(r, &mut s, ["ingress_s", "ingress"], default.ingress);
    s.finish(r);
    Watchdogs { egress, ingress }
}

fn read_one(r: &mut Reader<'_>, s: &mut Section<'_, '_>, [after, action]: [&'static str; 2], default: Watchdog) -> Watchdog {
    let seconds = s.integer(r, after, 2..=3_600, default.after.as_millis() / 1_000);
    let action = match s.str(r, action) {
        None => default.action,
        Some((name, span)) => ACTIONS.iter().find(|(known, _)| *known == name).map_or_else(
            || {
                r.fault(s.path_of(action), Some(&span), "is none of \"off\", \"tell\" and \"end\"", "write one of the three");
                default.action
            },
            |(_, action)| *action,
        ),
    };
    Watchdog { after: Span::from_secs(seconds), action }
}
