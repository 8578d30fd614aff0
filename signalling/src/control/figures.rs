//! Figures of a media call as JSON: the same in Direct mode and in the native API.

use serde_json::{Map, Value, json};
use tipring_engine::call::{CallStats, FarStats};
use tipring_engine::time::Time;

fn far_json(far: &FarStats) -> Value {
    let drops: Map<String, Value> = far.drops.iter().map(|(r, n)| (r.label().to_owned(), n.into())).collect();
    let seen = &far.reception;
    json!({
        "remote": far.remote.map(|r| r.to_string()),
        "rtp_in": far.rtp_in, "rtp_out": far.rtp_out, "rtcp_in": far.rtcp_in, "rtcp_out": far.rtcp_out,
        "late": far.late, "lost": seen.lost, "jitter_ticks": seen.jitter_ticks, "peer_lost": seen.peer_lost,
        "rtt_us": seen.rtt.map(|s| s.as_micros()),
        "drops": drops,
    })
}

/// The figures of a call, as they stand or as they were at its end.
pub(super) fn stats_json(stats: &CallStats) -> Value {
    let m = &stats.milestones;
    let since = |at: Option<Time>| at.map(|at| at.since(m.opened).as_micros());
    let drops: Map<String, Value> = stats.drops.iter().map(|(r, n)| (r.label().to_owned(), n.into())).collect();
    json!({
        "profile": stats.profile.map(|p| p.name()),
        "setup_us": {
            "first_check": since(m.first_check), "ice_connected": since(m.ice_connected), "dtls_connected": since(m.dtls_connected),
            "gate_opened": since(m.gate_opened), "first_rtp_out": since(m.first_rtp_out), "first_rtp_in": since(m.first_rtp_in),
        },
        "datagrams_in": stats.datagrams_in, "datagrams_out": stats.datagrams_out,
        "rtp_in": stats.rtp_in, "rtp_out": stats.rtp_out, "silence_out": stats.silence_out,
        "rtcp_in": stats.rtcp_in, "rtcp_out": stats.rtcp_out, "digits_in": stats.digits_in,
        "digits_out": stats.digits_out,
        "ice_rtt_us": stats.ice_rtt.map(|s| s.as_micros()),
        "drops": drops,
        "far": stats.far.as_deref().map(far_json),
    })
}
