//! How an input becomes another one.
//!
//! Given: an input, a second one, tokens, pairs of compared values and randomness. Refuses: to know what the bytes mean.

use tipring_engine::rng::{Entropy, SeededRng};

/// Numbers at which lengths, counts and signs turn over.
const EDGES: [u64; 16] =
    [0, 1, 3, 0x7f, 0x80, 0xff, 0x100, 0x3ff, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];

/// Changes inputs.
pub struct Mutator {
    /// Randomness of the whole run: the same seed makes the same run, up to what the clock decides.
    pub rng: SeededRng,
    tokens: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Mutator {
    /// With the tokens of a dictionary; no input grows past `bytes_max`.
    pub fn new(seed: u64, tokens: Vec<Vec<u8>>, bytes_max: usize) -> Self {
        Self { rng: SeededRng::new(seed), tokens, bytes_max }
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.rng.below(bound as u64) as usize }
    }

    /// One to sixteen changes, few more often than many.
    pub fn mutate(&mut self, data: &mut Vec<u8>, other: &[u8], compared: impl Fn(usize) -> Option<(u64, u64)>) {
        let power = self.below(5);
        for _ in 0..=self.below(1 << power) {
            self.change(data, other, &compared);
        }
        data.truncate(self.bytes_max);
    }

    fn change(&mut self, data: &mut Vec<u8>, other: &[u8], compared: &impl Fn(usize) -> Option<(u64, u64)>) {
        let at = self.below(data.len());
        let len = (1 + self.length()).min(data.len() - at);
        match self.below(13) {
            0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
            1 if !data.is_empty() => data[at] = self.rng.u32() as u8,
            2 if !data.is_empty() => data[at] = data[at].wrapping_add(self.below(33) as u8).wrapping_sub(16),
            3 => {
                let value = EDGES[self.below(EDGES.len())].wrapping_add(self.rng.below(3)).wrapping_sub(1);
                self.write_number(data, at, value);
            }
            4 => drop(data.drain(at..at + len)),
            5 => {
                let copy = data[at..at + len].to_vec();
                let to = self.below(data.len() + 1);
                data.splice(to..to, copy);
            }
            6 => {
                let fill = self.rng.u32() as u8;
                let fill = vec![fill; 1 + self.length()];
                data.splice(at..at, fill);
            }
            7 if !other.is_empty() => {
                // A piece of another input, over or between what is here.
                let from = self.below(other.len());
                let piece = &other[from..from + (1 + self.length()).min(other.len() - from)];
                let end = if self.below(2) == 0 { at } else { (at + piece.len()).min(data.len()) };
                data.splice(at..end, piece.iter().copied());
            }
            8 if !other.is_empty() => {
                // The front of this one and the back of the other.
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            9 if !self.tokens.is_empty() => {
                let token = self.below(self.tokens.len());
                let end = if self.below(2) == 0 { at } else { (at + self.tokens[token].len()).min(data.len()) };
                data.splice(at..end, self.tokens[token].iter().copied());
            }
            10 => data.truncate(at),
            _ => {
                let pick = self.rng.u32() as usize;
                if let Some((a, b)) = compared(pick) {
                    self.satisfy(data, a, b);
                }
            }
        }
    }

    /// Where the input holds one of two values that were found to differ, writes the other (or its neighbour).
    fn satisfy(&mut self, data: &mut [u8], a: u64, b: u64) {
        let (from, to) = if self.below(2) == 0 { (a, b) } else { (b, a) };
        let to = to.wrapping_add([0, 0, 1, u64::MAX][self.below(4)]);
        let bytes = ((64 - from.max(to).leading_zeros() as usize).div_ceil(8)).clamp(1, 8);
        // A number of one or two bytes may also stand in a wider field.
        let width = [bytes, bytes.next_power_of_two(), bytes.next_power_of_two() * 2][self.below(3)].min(8);
        let is_big = self.below(2) == 0;
        let encode = |value: u64| if is_big { value.to_be_bytes()[8 - width..].to_vec() } else { value.to_le_bytes()[..width].to_vec() };
        let (from, to) = (encode(from), encode(to));
        let hits: Vec<usize> = (0..data.len().saturating_sub(width - 1)).filter(|&at| data[at..at + width] == from[..]).collect();
        if let Some(&at) = hits.get(self.below(hits.len())) {
            data[at..at + width].copy_from_slice(&to);
        }
    }

    /// Writes a number of 1, 2, 4 or 8 bytes in either order.
    fn write_number(&mut self, data: &mut [u8], at: usize, value: u64) {
        let width = 1 << self.below(4);
        let is_big = self.below(3) > 0;
        let Some(place) = data.get_mut(at..at + width) else { return };
        let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
        place.copy_from_slice(if is_big { &big[8 - width..] } else { &little[..width] });
    }

    /// Mostly short.
    fn length(&mut self) -> usize {
        let power = self.below(8);
        self.below(1 << power)
    }
}

/// Reads a dictionary: a token in quotes a line, with `\\`, `\"` and `\xNN`; `#` starts a remark.
pub fn read_dictionary(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let fail = || format!("line {}: a token is \"...\" with \\\\, \\\" and \\xNN inside: {line}", number + 1);
        let inside = line.split_once('"').and_then(|(_, rest)| rest.strip_suffix('"')).ok_or_else(fail)?;
        let (mut token, mut bytes) = (Vec::new(), inside.bytes());
        while let Some(byte) = bytes.next() {
            token.push(match byte {
                b'\\' => match bytes.next() {
                    Some(b'x') => {
                        let digits = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                        let digits = std::str::from_utf8(&digits).map_err(|_| fail())?;
                        u8::from_str_radix(digits, 16).map_err(|_| fail())?
                    }
                    Some(escaped @ (b'\\' | b'"')) => escaped,
                    _ => return Err(fail()),
                },
                byte => byte,
            });
        }
        tokens.push(token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_none_is_too_long() {
        let run = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"token".to_vec()], 200);
            let mut data = b"a seed that is changed again and again".to_vec();
            (0..2_000).fold(0u64, |sum, _| {
                mutator.mutate(&mut data, b"another seed", |pick| Some((pick as u64 % 256, 7)));
                assert!(data.len() <= 200);
                data.iter().fold(sum, |sum, &b| sum.wrapping_mul(31).wrapping_add(u64::from(b)))
            })
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_compared_value_is_put_where_the_other_one_stood() {
        let mut mutator = Mutator::new(3, Vec::new(), 100);
        let found = (0..2_000).any(|_| {
            let mut data = b"....\x12\x34\x56\x78....".to_vec();
            mutator.satisfy(&mut data, 0x1234_5678, 0x2112_a442);
            data == b"....\x21\x12\xa4\x42...."
        });
        assert!(found);
    }

    #[test]
    fn every_dictionary_reads() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dictionaries");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let tokens =
                read_dictionary(&std::fs::read_to_string(&path).expect("text")).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(!tokens.is_empty() && tokens.iter().all(|token| !token.is_empty()));
            count += 1;
        }
        assert!(count >= 4);
        assert_eq!(read_dictionary("# x\n\"a\\x00\\\"\"\n").expect("fine"), [b"a\0\"".to_vec()]);
        assert!(read_dictionary("\"a").is_err() && read_dictionary("\"\\q\"").is_err());
    }
}
