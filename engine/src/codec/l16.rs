//! L16: 16-bit samples in network byte order (RFC 3551 section 4.5.11).
//!
//! Decides: nothing; it is a byte order. Refuses: stereo.

/// Writes each sample as two bytes of `out`. Returns the bytes written; samples that do not fit whole are left out.
pub fn encode(samples: &[i16], out: &mut [u8]) -> usize {
    let pairs = out.chunks_exact_mut(2).zip(samples);
    let len = 2 * pairs.len();
    pairs.for_each(|(bytes, sample)| bytes.copy_from_slice(&sample.to_be_bytes()));
    len
}

/// Reads each two bytes as a sample of `out`. Returns the samples written; an odd byte at the end is left out.
pub fn decode(bytes: &[u8], out: &mut [i16]) -> usize {
    let pairs = out.iter_mut().zip(bytes.chunks_exact(2));
    let len = pairs.len();
    pairs.for_each(|(sample, bytes)| *sample = i16::from_be_bytes([bytes[0], bytes[1]]));
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_high_byte_comes_first() {
        let mut bytes = [0; 5];
        assert_eq!(encode(&[0x1234, -2, 7], &mut bytes), 4);
        assert_eq!(bytes, [0x12, 0x34, 0xff, 0xfe, 0]);
        assert_eq!(decode(&[0x80, 0, 1], &mut [0; 4]), 1);
    }

    proptest! {
        #[test]
        fn samples_read_back(samples: Vec<i16>) {
            let mut bytes = vec![0; samples.len() * 2];
            let mut back = vec![0; samples.len()];
            prop_assert_eq!(encode(&samples, &mut bytes), bytes.len());
            prop_assert_eq!(decode(&bytes, &mut back), samples.len());
            prop_assert_eq!(back, samples);
        }
    }
}
