//! `a=crypto`: keys in the description (RFC 4568, `whatsapp-calling.md` 4.4, A14).
//!
//! Decides: which line of the peer keys the call, what ours says. Given: attribute values. Refuses: MKIs, several keys in a line, session
//! parameters that switch protection off, lifetimes too short for a call, suites we do not have. Never repeats a value in an error (G9).

use tipring_engine::call::LocalParams;
use tipring_engine::keying::{MasterKey, Profile};

use super::error::{SdpError, SdpErrorKind};

/// What an answer repeats of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crypto {
    /// 1 to 9 digits on the wire, unique in its section.
    pub tag: u32,
    /// The suite.
    pub profile: Profile,
}

/// Picks the first line that we can use (RFC 4568 section 5.1.2). `lines` are numbers and values, at least one; if none fits, the error is
/// that of the first.
pub(super) fn pick(lines: &[(u32, &str)]) -> Result<(Crypto, MasterKey), SdpError> {
    let mut first_error = None;
    //= rfc4568#section-5.1.2  the offerer's order is its preference
    for &(number, value) in lines.iter().take(LINES_MAX) {
        match parse(value) {
            Ok(found) => return Ok(found),
            Err(kind) => {
                first_error.get_or_insert(SdpError::at(kind, number));
            }
        }
    }
    Err(first_error.unwrap_or(SdpError::missing(SdpErrorKind::NoCrypto)))
}

/// Our line for the call's one suite: `tag suite inline:key`, no lifetime, no MKI, no session parameters, as Meta's own (4.4).
pub(super) fn value(crypto: Crypto, local: &LocalParams) -> String {
    format!("{} {} inline:{}", crypto.tag, crypto.profile.sdes_suite(), local.sdes.key(crypto.profile).to_base64())
}

/// The one line of our offers.
pub(super) const OFFERED: Crypto = Crypto { tag: 1, profile: Profile::Aes128CmSha1_80 };

/// `tag suite key-params [session-params]` (RFC 4568 section 9.1).
fn parse(value: &str) -> Result<(Crypto, MasterKey), SdpErrorKind> {
    let mut words = value.split_ascii_whitespace();
    let (Some(tag), Some(suite), Some(keys)) = (words.next(), words.next(), words.next()) else {
        return Err(SdpErrorKind::CryptoLine);
    };
    if !(1..=9).contains(&tag.len()) || !tag.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SdpErrorKind::CryptoLine);
    }
    let tag = tag.parse().map_err(|_| SdpErrorKind::CryptoLine)?;
    let profile = Profile::of_sdes_suite(suite).ok_or(SdpErrorKind::CryptoSuite)?;
    for parameter in words {
        check_session_parameter(parameter)?;
    }
    Ok((Crypto { tag, profile }, parse_key(profile, keys)?))
}

/// `inline:key[|lifetime][|mki:length]`, once.
fn parse_key(profile: Profile, keys: &str) -> Result<MasterKey, SdpErrorKind> {
    if keys.contains(';') {
        //= rfc4568#section-6.1:mki  more than one key needs MKIs to tell them apart
        return Err(SdpErrorKind::CryptoMki);
    }
    let (method, info) = keys.split_once(':').ok_or(SdpErrorKind::CryptoLine)?;
    if !method.eq_ignore_ascii_case("inline") {
        return Err(SdpErrorKind::CryptoLine);
    }
    let mut fields = info.split('|');
    let key = MasterKey::from_base64(profile, fields.next().unwrap_or_default()).ok_or(SdpErrorKind::CryptoKey)?;
    for (index, field) in fields.enumerate() {
        match field.contains(':') {
            //= rfc4568#section-6.1:mki  an MKI would stand behind each packet
            true => return Err(SdpErrorKind::CryptoMki),
            false if index == 0 => check_lifetime(field)?,
            false => return Err(SdpErrorKind::CryptoLine),
        }
    }
    Ok(key)
}

/// The peer's own promise about its key: decimal, or `2^n`. It binds what it sends, so nothing is counted here; but there is no second
/// description, so a key that cannot last for a call is refused while there is somebody to tell.
//= rfc4568#section-6.1:lifetime  at least as long as a call, at most what the suite allows
fn check_lifetime(text: &str) -> Result<(), SdpErrorKind> {
    let packets = match text.strip_prefix("2^") {
        Some(exponent) => exponent.parse::<u32>().ok().and_then(|n| 1u64.checked_shl(n)),
        None => text.parse::<u64>().ok(),
    };
    match packets {
        Some(packets) if (LIFETIME_PACKETS_MIN..=LIFETIME_PACKETS_MAX).contains(&packets) => Ok(()),
        _ => Err(SdpErrorKind::CryptoLifetime),
    }
}

/// RFC 4568 section 6.3: what we may ignore, what is the default anyway, and the rest, which must be understood and is not.
//= rfc4568#section-6.3  nothing may be sent unencrypted or unauthenticated
fn check_session_parameter(parameter: &str) -> Result<(), SdpErrorKind> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let is_harmless = name.starts_with('-')
        || name.eq_ignore_ascii_case("KDR") && value == "0"
        || name.eq_ignore_ascii_case("FEC_ORDER") && value.eq_ignore_ascii_case("FEC_SRTP")
        // A wish for a larger replay list; ours has 128 places.
        || name.eq_ignore_ascii_case("WSH") && value.parse::<u32>().is_ok_and(|places| places >= 64);
    if is_harmless { Ok(()) } else { Err(SdpErrorKind::CryptoParameter) }
}

/// Lines looked at; LiveKit and browsers of old offer four.
const LINES_MAX: usize = 16;
/// Five hours and 49 minutes at 50 packets per second.
const LIFETIME_PACKETS_MIN: u64 = 1 << 20;
/// RFC 3711 section 9.2.
const LIFETIME_PACKETS_MAX: u64 = 1 << 48;

#[cfg(test)]
mod tests {
    use super::*;
    use SdpErrorKind as Kind;

    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn kind(value: &str) -> Option<SdpErrorKind> {
        parse(value).err()
    }

    //= rfc4568#section-6.1:mki type=test
    //= rfc4568#section-6.1:lifetime type=test
    //= rfc4568#section-6.3 type=test
    #[test]
    fn lines_are_taken_or_refused_for_their_reason() {
        let line = |tail: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{tail}");
        for good in [
            line(""),
            line("|2^31"),
            line("|1048576"),
            line("|2^48"),
            line(" KDR=0"),
            line(" -UNKNOWN=5"),
            line(" WSH=64"),
            line("|2^20 FEC_ORDER=FEC_SRTP"),
            format!("999999999 aes_cm_128_hmac_sha1_80 INLINE:{KEY}"),
            format!("0 AES_CM_128_HMAC_SHA1_32  inline:{KEY}"),
        ] {
            assert_eq!(kind(&good), None, "{good}");
        }
        for (bad, want) in [
            (String::new(), Kind::CryptoLine),
            ("1 AES_CM_128_HMAC_SHA1_80".into(), Kind::CryptoLine),
            (format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), Kind::CryptoLine),
            (format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), Kind::CryptoLine),
            (format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"), Kind::CryptoLine),
            (format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}"), Kind::CryptoLine),
            (line("|2^31|2^31"), Kind::CryptoLine),
            (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), Kind::CryptoSuite),
            (format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"), Kind::CryptoSuite),
            (format!("1 NULL_HMAC_SHA1_80 inline:{KEY}"), Kind::CryptoSuite),
            (format!("1 AEAD_AES_128_GCM inline:{KEY}"), Kind::CryptoKey),
            (line("A"), Kind::CryptoKey),
            (line("="), Kind::CryptoKey),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", KEY.replace('d', "*")), Kind::CryptoKey),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:".into(), Kind::CryptoKey),
            (line("|1:4"), Kind::CryptoMki),
            (line("|2^31|1:4"), Kind::CryptoMki),
            (line(&format!(";inline:{KEY}")), Kind::CryptoMki),
            (line("|2^19"), Kind::CryptoLifetime),
            (line("|2^49"), Kind::CryptoLifetime),
            (line("|2^64"), Kind::CryptoLifetime),
            (line("|0"), Kind::CryptoLifetime),
            (line("|"), Kind::CryptoLifetime),
            (line("|forever"), Kind::CryptoLifetime),
            (line(" UNENCRYPTED_SRTP"), Kind::CryptoParameter),
            (line(" UNENCRYPTED_SRTCP"), Kind::CryptoParameter),
            (line(" UNAUTHENTICATED_SRTP"), Kind::CryptoParameter),
            (line(" KDR=1"), Kind::CryptoParameter),
            (line(" WSH=63"), Kind::CryptoParameter),
            (line(" FEC_KEY=inline:x"), Kind::CryptoParameter),
            (line(" UNKNOWN"), Kind::CryptoParameter),
        ] {
            assert_eq!(kind(&bad), Some(want), "{bad}");
        }
    }

    //= rfc4568#section-5.1.2 type=test
    #[test]
    fn the_first_usable_line_is_picked() {
        let weak = format!("1 NULL_HMAC_SHA1_80 inline:{KEY}");
        let (second, third) = (format!("7 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), format!("8 AES_CM_128_HMAC_SHA1_32 inline:{KEY}"));
        let picked = pick(&[(4, &weak), (5, &second), (6, &third)]).expect("the second");
        assert_eq!(picked.0, Crypto { tag: 7, profile: Profile::Aes128CmSha1_80 });
        assert_eq!(pick(&[(4, &weak), (5, "nonsense")]).expect_err("none"), SdpError::at(Kind::CryptoSuite, 4));
    }
}
