//! VoIP only: what names a telephone, or a host that nobody listed, is refused by one name at every entry point.
//!
//! Decides: whether a text that somebody sent as the far side of a call is such a name. Given: text. Refuses: to know which addresses are listed (the engine does); what a
//! listed trunk does with the audio next cannot be seen, so each trunk attests it.

use super::problem::Problem;
use hyper::StatusCode;

/// The code of every refusal.
pub(crate) const VOIP_ONLY: &str = "VOIP_ONLY";

/// What a text names, if it is no address of ours to reach: a telephone number or a host name.
pub(crate) fn names_outside(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if ["tel:", "sip:", "sips:", "callto:", "pstn:", "im:", "h323:"].iter().any(|scheme| lower.starts_with(scheme)) {
        return Some("a telephone or SIP address");
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 3 && text.bytes().all(|b| b.is_ascii_digit() || b"+-() ./*#".contains(&b)) && text.parse::<std::net::IpAddr>().is_err() {
        return Some("a telephone number");
    }
    if text.contains('@') {
        return Some("an address at a domain");
    }
    let host = text.rsplit_once(':').map_or(text, |(host, port)| if port.bytes().all(|b| b.is_ascii_digit()) { host } else { text });
    let is_name = host.contains('.') && host.bytes().any(|b| b.is_ascii_alphabetic()) && !host.contains(':');
    is_name.then_some("a host name")
}

/// 422 with the reason; where to go instead.
pub(crate) fn refusal(what: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        VOIP_ONLY,
        format!("this is {what}: calls of WhatsApp users go to listed VoIP addresses only, never to the telephone network"),
        "bridge to an IP address of a [[trunk]] that attests_no_pstn; Meta's terms forbid the telephone network on any leg",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    //= meta#R-10 type=test
    #[test]
    fn telephones_and_strangers_are_known_by_their_look() {
        for text in [
            "tel:+4930123456",
            "TEL:110",
            "sip:bob@example.com",
            "sips:1@10.0.0.1",
            "+49 30 123456",
            "0049-30-123456",
            "112",
            "bob@10.0.0.1",
            "pbx.example.com",
            "pbx.example.com:5060",
            " tel:1 ",
        ] {
            assert!(names_outside(text).is_some(), "{text}");
        }
        for text in ["echo", "rtp", "play_then_echo", "10.0.0.9", "10.0.0.9:4000", "[fd00::9]:4000", "fd00::9", "", "greeting", "ech0"] {
            assert_eq!(names_outside(text), None, "{text}");
        }
    }
}
