//! G.711: A-law and mu-law (ITU-T G.711, in the 16-bit form of the ITU-T Software Tool Library, G.191).
//!
//! Decides: the eight bits of a sample and the sample of eight bits. Given: 8 kHz samples. Refuses: Appendix I and II (loss concealment, comfort noise).

/// One of the two laws.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Law {
    /// PCMU, static payload type 0: North America and Japan.
    Mu,
    /// PCMA, static payload type 8: elsewhere.
    A,
}

impl Law {
    /// Encodes each sample into one byte of `out`. Returns the bytes written: as many as both hold.
    pub fn encode(self, samples: &[i16], out: &mut [u8]) -> usize {
        let pairs = out.iter_mut().zip(samples);
        let len = pairs.len();
        match self {
            Self::Mu => pairs.for_each(|(byte, &sample)| *byte = mu_of(sample)),
            Self::A => pairs.for_each(|(byte, &sample)| *byte = a_of(sample)),
        }
        len
    }

    /// Decodes each byte into one sample of `out`. Returns the samples written: as many as both hold.
    pub fn decode(self, bytes: &[u8], out: &mut [i16]) -> usize {
        let table = match self {
            Self::Mu => &MU_LINEAR,
            Self::A => &A_LINEAR,
        };
        let pairs = out.iter_mut().zip(bytes);
        let len = pairs.len();
        pairs.for_each(|(sample, &byte)| *sample = table[usize::from(byte)]);
        len
    }
}

/// mu-law of one sample. The 14-bit magnitude plus 33 has its leading one between bits 5 and 12; that bit names the segment, the four below it the step.
const fn mu_of(sample: i16) -> u8 {
    // One's complement: -1 and 0 are the two zeroes.
    let magnitude = ((if sample < 0 { !sample } else { sample }) as u16 >> 2) + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    let segment = 10 - magnitude.leading_zeros() as u16;
    let step = (magnitude >> (segment + 1)) & 0x0f;
    let code = !((segment << 4) | step) as u8;
    if sample < 0 { code & 0x7f } else { code | 0x80 }
}

/// A-law of one sample: 12-bit magnitude, even bits inverted.
const fn a_of(sample: i16) -> u8 {
    let magnitude = (if sample < 0 { !sample } else { sample }) as u16 >> 4;
    let code = if magnitude < 16 {
        magnitude
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16;
        segment << 4 | (magnitude >> (segment - 1)) & 0x0f
    };
    (if sample < 0 { code } else { code | 0x80 }) as u8 ^ 0x55
}

const fn mu_linear(byte: u8) -> i16 {
    let code = !byte;
    let (segment, step) = ((code >> 4) & 7, (code & 0x0f) as i16);
    let magnitude = ((step * 8 + 132) << segment) - 132;
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn a_linear(byte: u8) -> i16 {
    let code = (byte ^ 0x55) & 0x7f;
    let (segment, step) = (code >> 4, (code & 0x0f) as i16);
    // The middle of the step.
    let magnitude = if segment == 0 { step * 16 + 8 } else { (step * 16 + 264) << (segment - 1) };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

/// Fills a table by one of the two functions above; the law is named because constants cannot call through pointers.
const fn table(law: Law) -> [i16; 256] {
    let mut out = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        out[byte] = match law {
            Law::Mu => mu_linear(byte as u8),
            Law::A => a_linear(byte as u8),
        };
        byte += 1;
    }
    out
}

/// Samples by mu-law byte.
static MU_LINEAR: [i16; 256] = table(Law::Mu);
/// Samples by A-law byte.
static A_LINEAR: [i16; 256] = table(Law::A);

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711 table 1a (A-law) and 2a (mu-law), positive values: the decision value at which each segment begins, its step, in units of the recommendation
    /// (4 096 and 8 159 full scale), and the first output value.
    const A_SEGMENTS: [(i32, i32); 8] = [(0, 2), (32, 2), (64, 4), (128, 8), (256, 16), (512, 32), (1_024, 64), (2_048, 128)];

    #[test]
    fn a_law_is_table_1a() {
        for (segment, (start, step)) in A_SEGMENTS.into_iter().enumerate() {
            for k in 0..16 {
                let code = ((segment as u8) << 4 | k as u8 | 0x80) ^ 0x55;
                // The recommendation's output value is the middle between two decision values; a unit of it is 8 of ours.
                let output = (start + step * k) * 8 + step * 4;
                assert_eq!(i32::from(a_linear(code)), output, "segment {segment}, step {k}");
                assert_eq!(i32::from(a_linear(code ^ 0x80)), -output);
                let (first, last) = ((start + step * k) * 8, (start + step * (k + 1)) * 8 - 1);
                for sample in [first, last] {
                    assert_eq!(a_of(sample as i16), code, "decision values of segment {segment}, step {k}");
                    assert_eq!(a_of(!sample as i16), code ^ 0x80);
                }
            }
        }
    }

    #[test]
    fn mu_law_is_table_2a() {
        for segment in 0..8_i32 {
            for k in 0..16_i32 {
                let code = !((segment << 4 | k) as u8);
                // Table 2a: steps of 2, 4 ... 256 of 8 159; decision values 31, 95, 223 ... and output values 0, 2, 4 ... 30, 33, 37 ... 8 031. A unit is 4 of ours.
                let output = ((2 * k + 33) << segment) - 33;
                assert_eq!(i32::from(mu_linear(code)), output * 4, "segment {segment}, step {k}");
                assert_eq!(i32::from(mu_linear(code & 0x7f)), -output * 4);
            }
        }
        // The decision values lie half a step around each output value.
        for sample in i16::MIN..=i16::MAX {
            let heard = i32::from(mu_linear(mu_of(sample)));
            let segment = 7 - i32::from((mu_of(sample) >> 4) & 7);
            let is_clipped = i32::from(sample).abs() > 32_635;
            let off = (i32::from(sample) - heard).abs();
            assert!(is_clipped || off <= 4 << segment, "{sample} is heard as {heard}");
        }
    }

    #[test]
    fn known_values() {
        let mu = [(0x00, -32_124), (0x80, 32_124), (0x7f, 0), (0xff, 0), (0xfe, 8), (0xf0, 120), (0xef, 132)];
        let a = [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0x80, 5_504)];
        assert!(mu.iter().all(|&(byte, sample)| mu_linear(byte) == sample));
        assert!(a.iter().all(|&(byte, sample)| a_linear(byte) == sample));
        assert_eq!([mu_of(0), mu_of(-1), mu_of(i16::MAX), mu_of(i16::MIN)], [0xff, 0x7f, 0x80, 0x00]);
        assert_eq!([a_of(0), a_of(-1), a_of(i16::MAX), a_of(i16::MIN)], [0xd5, 0x55, 0xaa, 0x2a]);
    }

    #[test]
    fn every_code_is_its_own_sample_and_order_is_kept() {
        for byte in 0..=255_u8 {
            assert_eq!(a_of(a_linear(byte)), byte);
            // The two zeroes of mu-law are one sample.
            assert_eq!(mu_of(mu_linear(byte)), if byte == 0x7f { 0xff } else { byte });
        }
        for sample in i16::MIN..i16::MAX {
            assert!(mu_linear(mu_of(sample)) <= mu_linear(mu_of(sample + 1)));
            assert!(a_linear(a_of(sample)) <= a_linear(a_of(sample + 1)));
        }
    }

    #[test]
    fn slices_of_unequal_length_give_what_fits() {
        let (mut bytes, mut samples) = ([0; 3], [0; 2]);
        assert_eq!(Law::A.encode(&[1, 2, 3, 4], &mut bytes), 3);
        assert_eq!(Law::A.decode(&bytes, &mut samples), 2);
        assert_eq!(samples, [8, 8]);
    }
}
