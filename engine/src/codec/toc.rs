//! Opus packets without decoding them: TOC byte, frame count, duration (RFC 6716 section 3).
//!
//! Given: the payload of an authenticated audio packet. Decides: whether its framing holds (R1 to R7 of RFC 6716 section 3.4), how long it
//! plays, and what it contains by its own word. Refuses: decoding, and any trust in ptime (O4): the packet says how long it is.

use crate::error::DropReason;

/// Audio bandwidth of an Opus packet (RFC 6716 section 2, Table 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bandwidth {
    /// 4 kHz of audio.
    Narrow,
    /// 6 kHz of audio.
    Medium,
    /// 8 kHz of audio; what a call from a phone carries (maxplaybackrate 16000).
    Wide,
    /// 12 kHz of audio.
    SuperWide,
    /// 20 kHz of audio.
    Full,
}

/// Which of the two Opus coders made a packet (RFC 6716 section 3.1, Table 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// SILK alone: speech, may carry in-band FEC.
    Silk,
    /// SILK for the low band, CELT above: may carry in-band FEC.
    Hybrid,
    /// CELT alone: music and very low delay, never FEC.
    Celt,
}

/// Duration of an Opus packet in 48 kHz ticks, after checking the framing rules R1 to R7 of RFC 6716 section 3.4. 120 ms at most.
///
/// An empty packet is refused (R1); a packet of the TOC byte alone is one frame of length zero: lost or not transmitted.
//= rfc7587#section-4.2:framing  or the packet is dropped
pub fn duration_ticks(packet: &[u8]) -> Result<u32, DropReason> {
    let frames = frame_count(packet)?;
    Ok(frames * frame_ticks(packet[0]))
}

/// Number of Opus frames in a packet, 1 to 48, after checking R1 to R7.
pub fn frame_count(packet: &[u8]) -> Result<u32, DropReason> {
    checked_frame_count(packet).ok_or(DropReason::OpusMalformed)
}

/// The frames of a packet, in order, after checking R1 to R7: how many there are (1 to 48), and where, in `out`. Padding is left out.
pub fn frames<'a>(packet: &'a [u8], out: &mut [&'a [u8]; 48]) -> Result<usize, DropReason> {
    let count = frame_count(packet)? as usize;
    cut(packet, count, out).ok_or(DropReason::OpusMalformed)?;
    Ok(count)
}

/// Cuts a packet whose framing was checked.
fn cut<'a>(packet: &'a [u8], count: usize, out: &mut [&'a [u8]; 48]) -> Option<()> {
    let (&toc, mut body) = packet.split_first()?;
    let mut lengths = [0; 48];
    match toc & 3 {
        0 => {}
        1 => lengths[0] = body.len() / 2,
        2 => {
            let (first, length_bytes) = frame_length(body)?;
            lengths[0] = first;
            body = &body[length_bytes..];
        }
        _ => {
            let (&flags, rest) = body.split_first()?;
            body = without_padding(flags, rest)?;
            if flags & 0x80 == 0 {
                lengths.fill(body.len() / count);
            } else {
                for length in &mut lengths[..count - 1] {
                    let (announced, length_bytes) = frame_length(body)?;
                    *length = announced;
                    body = &body[length_bytes..];
                }
            }
        }
    }
    for (frame, &length) in out[..count - 1].iter_mut().zip(&lengths) {
        (*frame, body) = body.split_at_checked(length)?;
    }
    out[count - 1] = body;
    Some(())
}

/// Duration of one frame in 48 kHz ticks, from the TOC byte alone: 120 (2.5 ms) to 2 880 (60 ms). RFC 6716 section 3.1, Table 2.
pub const fn frame_ticks(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1_920, 2_880][(config & 3) as usize],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][(config & 1) as usize],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][(config & 3) as usize],
    }
}

/// Mode of the packet, from its TOC byte; none for an empty packet.
pub fn mode(packet: &[u8]) -> Option<Mode> {
    packet.first().map(|toc| match toc >> 3 {
        0..=11 => Mode::Silk,
        12..=15 => Mode::Hybrid,
        _ => Mode::Celt,
    })
}

/// Audio bandwidth of the packet, from its TOC byte; none for an empty packet.
pub fn bandwidth(packet: &[u8]) -> Option<Bandwidth> {
    packet.first().map(|toc| match toc >> 3 {
        0..=3 | 16..=19 => Bandwidth::Narrow,
        4..=7 => Bandwidth::Medium,
        8..=11 | 20..=23 => Bandwidth::Wide,
        12..=13 | 24..=27 => Bandwidth::SuperWide,
        _ => Bandwidth::Full,
    })
}

/// Whether the packet was coded in stereo; false for an empty packet. A decoder must take both whatever was negotiated (O7).
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 0x04 != 0)
}

/// Whether an encoder in DTX would not have to send this packet: two bytes or less (O6, RFC 7587 section 3.1.3 and the libopus manual).
pub fn is_dtx(packet: &[u8]) -> bool {
    packet.len() <= 2
}

fn checked_frame_count(packet: &[u8]) -> Option<u32> {
    //= rfc6716#section-3.4  [R1] packets are at least one byte
    let (&toc, body) = packet.split_first()?;
    match toc & 3 {
        // One frame. R2: no frame is longer than 1 275 bytes.
        0 => (body.len() <= FRAME_BYTES_MAX).then_some(1),
        //= rfc6716#section-3.4  [R3] code 1 packets have an odd total length
        1 => (body.len().is_multiple_of(2) && body.len() / 2 <= FRAME_BYTES_MAX).then_some(2),
        //= rfc6716#section-3.4  [R4] code 2: enough bytes for the first length, and that frame fits
        2 => {
            let (first, length_bytes) = frame_length(body)?;
            let second = body.len().checked_sub(length_bytes)?.checked_sub(first)?;
            (second <= FRAME_BYTES_MAX).then_some(2)
        }
        _ => many_frames(toc, body),
    }
}

/// Code 3: a count byte, optional padding, then frames of one length (CBR) or each with its own (VBR). RFC 6716 section 3.2.5.
fn many_frames(toc: u8, body: &[u8]) -> Option<u32> {
    let (&flags, body) = body.split_first()?;
    let frames = u32::from(flags & 0x3f);
    //= rfc6716#section-3.4  [R5] at least one frame, at most 120 ms
    if frames == 0 || frames * frame_ticks(toc) > PACKET_TICKS_MAX {
        return None;
    }
    let mut body = without_padding(flags, body)?;
    if flags & 0x80 == 0 {
        //= rfc6716#section-3.4  [R6] CBR: what remains is a multiple of the frame count
        let each = body.len() / frames as usize;
        return (body.len().is_multiple_of(frames as usize) && each <= FRAME_BYTES_MAX).then_some(frames);
    }
    //= rfc6716#section-3.4  [R7] VBR: all lengths are there, and the frames they announce fit
    let mut announced = 0_usize;
    for _ in 1..frames {
        let (length, length_bytes) = frame_length(body)?;
        announced += length;
        body = &body[length_bytes..];
    }
    let last = body.len().checked_sub(announced)?;
    (last <= FRAME_BYTES_MAX).then_some(frames)
}

/// What stands between the count byte of code 3 and the padding at the end. RFC 6716 section 3.2.5.
fn without_padding(flags: u8, mut body: &[u8]) -> Option<&[u8]> {
    if flags & 0x40 == 0 {
        return Some(body);
    }
    let mut padding = 0_usize;
    loop {
        let (&byte, rest) = body.split_first()?;
        body = rest;
        // 255 means 254 bytes of padding and another length byte.
        padding += usize::from(byte.min(254));
        if byte != 255 {
            return Some(&body[..body.len().checked_sub(padding)?]);
        }
    }
}

/// Reads a frame length of one or two bytes; gives it and how many bytes it took. RFC 6716 section 3.2.1. At most 1 275 by construction.
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.first()? {
        short @ 0..=251 => Some((usize::from(short), 1)),
        long => Some((usize::from(*bytes.get(1)?) * 4 + usize::from(long), 2)),
    }
}

/// Longest frame inside a packet, in bytes (R2).
const FRAME_BYTES_MAX: usize = 1_275;
/// Longest packet: 120 ms (R5).
const PACKET_TICKS_MAX: u32 = 5_760;

// The two-byte form cannot exceed R2: 255 x 4 + 255.
const _: () = assert!(255 * 4 + 255 == FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::golden;
    use proptest::prelude::*;

    #[test]
    fn every_toc_byte_reads_as_libopus_reads_it() {
        let table = golden::read("opus/toc.json");
        let rows = table["table"].as_array().unwrap();
        assert_eq!(rows.len(), 256);
        for (toc, row) in rows.iter().enumerate() {
            let toc = toc as u8;
            let packet = [toc];
            assert_eq!(u64::from(toc >> 3), row["config"].as_u64().unwrap());
            let ms = row["frame_ms"].as_f64().unwrap();
            assert_eq!(f64::from(frame_ticks(toc)), ms * 48.0, "toc {toc:#04x}");
            assert_eq!(is_stereo(&packet), row["stereo"] == 1);
            assert_eq!(u64::from(toc & 3), row["code"].as_u64().unwrap());
            let mode = match row["mode"].as_str().unwrap() {
                "silk" => Mode::Silk,
                "hybrid" => Mode::Hybrid,
                "celt" => Mode::Celt,
                other => panic!("unknown mode {other}"),
            };
            assert_eq!(super::mode(&packet), Some(mode));
        }
    }

    //= rfc7587#section-4.2:framing type=test
    //= rfc6716#section-3.4 type=test
    #[test]
    fn framing_vectors() {
        let file = golden::read("opus/framing.json");
        for case in file["cases"].as_array().unwrap() {
            let id = case["id"].as_str().unwrap();
            let packet = golden::hex(&case["hex"]);
            match case["expect"]["frames"].as_u64() {
                Some(frames) => {
                    assert_eq!(frame_count(&packet).map(u64::from), Ok(frames), "{id}");
                    let ms = case["expect"]["ms"].as_u64().unwrap();
                    assert_eq!(duration_ticks(&packet).map(u64::from), Ok(ms * 48), "{id}");
                    assert_eq!(is_dtx(&packet), case["expect"]["lost"] == true, "{id}");
                }
                None => assert_eq!(frame_count(&packet), Err(DropReason::OpusMalformed), "{id}"),
            }
        }
    }

    //= rfc7587#section-4.2:framing type=test
    //= rfc6716#section-3.4 type=test
    #[test]
    fn each_rule_refuses_its_own_breach() {
        let refused = |packet: &[u8]| assert_eq!(duration_ticks(packet), Err(DropReason::OpusMalformed), "{packet:02x?}");
        let frame = |toc: u8, bytes: usize| [vec![toc], vec![0; bytes]].concat();
        refused(&[]); // R1
        assert!(duration_ticks(&frame(0x48, 1_275)).is_ok());
        refused(&frame(0x48, 1_276)); // R2
        refused(&frame(0x49, 3)); // R3
        assert!(duration_ticks(&frame(0x49, 2_550)).is_ok());
        refused(&frame(0x49, 2_552)); // R2 by way of code 1
        refused(&[0x4a]); // R4: no length at all
        refused(&[0x4a, 5, 1, 2]); // R4: first frame does not fit
        refused(&[0x4a, 252]); // R4: half a length
        refused(&[0x4b]); // R5: no count byte
        refused(&[0x4b, 0]); // R5: no frame
        refused(&[0x4b, 7]); // R5: 140 ms
        assert_eq!(duration_ticks(&[0x4b, 6]), Ok(5_760)); // six frames of nothing: 120 ms
        refused(&[0x4b, 3, 1]); // R6
        refused(&[0x4b, 0x43, 2, 0]); // R6: padding longer than the packet
        refused(&[0x4b, 0x43, 255]); // R6: padding length cut
        refused(&[0x4b, 0x83, 1]); // R7: second length missing
        refused(&[0x4b, 0x83, 1, 2, 9]); // R7: frames do not fit
        assert_eq!(frame_count(&[0x4b, 0x83, 1, 1, 9, 9]), Ok(3));
        assert_eq!(frame_count(&[0x4b, 0x42, 1, 9, 9, 0]), Ok(2));
        // A length byte of 255 is 254 bytes of padding: two frames of one byte are left, exactly.
        assert_eq!(frame_count(&[&[0x4b, 0x42, 255, 0, 9, 9][..], &[0; 254]].concat()), Ok(2));
        refused(&[&[0x4b, 0x42, 255, 0, 9, 9][..], &[0; 253]].concat());
    }

    #[test]
    fn bandwidths_follow_table_2() {
        let of = |config: u8| bandwidth(&[config << 3]).unwrap();
        assert_eq!([of(0), of(4), of(8), of(12), of(14)], {
            use Bandwidth::{Full, Medium, Narrow, SuperWide, Wide};
            [Narrow, Medium, Wide, SuperWide, Full]
        });
        assert_eq!([of(16), of(20), of(24), of(28)], [Bandwidth::Narrow, Bandwidth::Wide, Bandwidth::SuperWide, Bandwidth::Full]);
        assert_eq!(bandwidth(&[]), None);
    }

    proptest! {
        #[test]
        fn variable_frames_survive_framing(config in 0_u8..32, lengths in prop::collection::vec(0_usize..1_276, 1..7), padding in 0_usize..600) {
            let toc = config << 3 | 3;
            let mut packet = vec![toc, 0xc0 | lengths.len() as u8];
            let mut left = padding;
            while left >= 255 {
                packet.push(255);
                left -= 254;
            }
            packet.push(left as u8);
            for &length in &lengths[..lengths.len() - 1] {
                if length < 252 {
                    packet.push(length as u8);
                } else {
                    let low = 252 + (length & 3);
                    packet.extend([low as u8, ((length - low) / 4) as u8]);
                }
            }
            packet.extend(vec![0; lengths.iter().sum::<usize>()]);
            // The last length byte stands for itself; each 255 before it for 254.
            packet.extend(vec![0; padding]);
            let ticks = lengths.len() as u32 * frame_ticks(toc);
            if ticks <= PACKET_TICKS_MAX {
                prop_assert_eq!(duration_ticks(&packet), Ok(ticks));
            } else {
                prop_assert!(duration_ticks(&packet).is_err());
            }
        }
    }
}
