//! What a relay may do to its own plaintext handshake datagrams: cut them small, in another order, at other places, or change its answer.
//!
//! Given: a datagram as the TLS library made it. Decides: the datagrams that leave in its stead. Refuses: encrypted records, which it
//! passes on as they are.

/// `[0, 14]` is use_srtp: what the library answered, and what the relay makes of it.
type Answer<'a> = (&'a [u8], &'a [u8]);

/// Cuts the epoch-0 handshake messages of `datagram` into fragments of `cut` bytes, one per datagram and the last one first; what else is in
/// it follows, in its order. Record numbers are taken from `next_seq`, so that none is used twice.
pub fn fragment(datagram: &[u8], cut: usize, next_seq: &mut u64) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut others = Vec::new();
    for record in records(datagram) {
        if record[0] != HANDSHAKE || record[3..5] != [0, 0] {
            others.push(renumbered(record, next_seq));
            continue;
        }
        for message in messages(&record[RECORD_BYTES..]) {
            let (header, body) = message.split_at(HEADER_BYTES);
            for start in (0..body.len().max(1)).step_by(cut) {
                let part = &body[start..(start + cut).min(body.len())];
                let mut piece = record[..RECORD_BYTES].to_vec();
                piece[11..13].copy_from_slice(&((HEADER_BYTES + part.len()) as u16).to_be_bytes());
                piece.extend_from_slice(&header[..6]);
                piece.extend_from_slice(&(start as u32).to_be_bytes()[1..]);
                piece.extend_from_slice(&(part.len() as u32).to_be_bytes()[1..]);
                piece.extend_from_slice(part);
                pieces.push(renumbered(&piece, next_seq));
            }
        }
    }
    pieces.reverse();
    pieces.extend(others);
    pieces
}

/// The datagram with another use_srtp answer in its ServerHello, all lengths put right; as it was if there is none.
pub fn with_srtp_answer(datagram: &[u8], profile: u16, is_mki: bool) -> Vec<u8> {
    let [high, low] = profile.to_be_bytes();
    let from = [0, 14, 0, 5, 0, 2, high, low, 0];
    let mki = [0, 14, 0, 6, 0, 2, high, low, 1, 0xaa];
    let two = [0, 14, 0, 7, 0, 4, high, low, 0, 1, 0];
    changed(datagram, if is_mki { (&from, &mki) } else { (&from, &two) }).unwrap_or_else(|| datagram.to_vec())
}

fn changed(datagram: &[u8], (from, to): Answer<'_>) -> Option<Vec<u8>> {
    let body = RECORD_BYTES + HEADER_BYTES;
    if datagram.first() != Some(&HANDSHAKE) || datagram.get(RECORD_BYTES) != Some(&SERVER_HELLO) {
        return None;
    }
    let session_id_bytes = usize::from(*datagram.get(body + 34)?);
    let extensions = body + 35 + session_id_bytes + 3;
    let at = extensions + datagram.get(extensions..)?.windows(from.len()).position(|w| w == from)?;
    let mut out = datagram.to_vec();
    out.splice(at..at + from.len(), to.iter().copied());
    let grown = (to.len() - from.len()) as u16;
    // The low 16 bits of the lengths of record, message and fragment, and that of the extensions.
    for at in [11, RECORD_BYTES + 2, RECORD_BYTES + 10, extensions] {
        let length = u16::from_be_bytes([out[at], out[at + 1]]) + grown;
        out[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    Some(out)
}

fn renumbered(record: &[u8], next_seq: &mut u64) -> Vec<u8> {
    let mut record = record.to_vec();
    if record[3..5] == [0, 0] {
        record[5..11].copy_from_slice(&next_seq.to_be_bytes()[2..]);
        *next_seq += 1;
    }
    record
}

/// The records of a datagram of our own library: lengths are right.
fn records(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(11)?, *rest.get(12)?]));
        let (record, behind) = rest.split_at_checked(RECORD_BYTES + length)?;
        rest = behind;
        Some(record)
    })
}

/// The whole messages of a record.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let (message, behind) = rest.split_at_checked(HEADER_BYTES + length)?;
        rest = behind;
        Some(message)
    })
}

const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const RECORD_BYTES: usize = 13;
const HEADER_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_every_byte_once() {
        let body: Vec<u8> = (0..200).collect();
        let mut datagram = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 212, 11, 0, 0, 200, 0, 1, 0, 0, 0, 0, 0, 200];
        datagram.extend_from_slice(&body);
        datagram.extend_from_slice(&[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 1]);
        let mut seq = 40;
        let pieces = fragment(&datagram, 64, &mut seq);
        assert_eq!((pieces.len(), seq), (5, 45));
        assert_eq!(pieces[4][..11], [20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 44], "what is no handshake comes last");
        let mut back = vec![0; 200];
        for piece in &pieces[..4] {
            let (at, len) = (usize::from(piece[21]), usize::from(piece[24]));
            back[at..at + len].copy_from_slice(&piece[25..]);
            assert_eq!(piece[13..19], [11, 0, 0, 200, 0, 1]);
        }
        assert_eq!(back, body);
        assert_eq!(pieces[0][21], 192, "the last first");
    }

    #[test]
    fn what_has_no_server_hello_stays_as_it_is() {
        assert_eq!(with_srtp_answer(&[21, 0xfe, 0xfd], 7, true), [21, 0xfe, 0xfd]);
        assert!(with_srtp_answer(&[], 7, false).is_empty());
    }
}
