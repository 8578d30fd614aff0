//! Where plain RTP may go: a list of address ranges, and nothing beyond it.
//!
//! Decides: whether an address is in the list. Given: ranges as people write them. Refuses: a default; an empty list allows nobody. What a target does with
//! the audio next is beyond what an engine can see.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    base: IpAddr,
    prefix_bits: u8,
}

impl AddressRange {
    /// Whether `address` is inside. An IPv4 address mapped into IPv6 counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix_bits);
                shift == 32 || base.to_bits() >> shift == address.to_bits() >> shift
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix_bits);
                shift == 128 || base.to_bits() >> shift == address.to_bits() >> shift
            }
            _ => false,
        }
    }
}

/// Why a range cannot be read, and what to write instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRange;

impl fmt::Display for BadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address range: write for example 10.20.0.0/16, 192.0.2.7 or fd00:7::/64, with no bit set behind the prefix")
    }
}

impl core::error::Error for BadRange {}

impl FromStr for AddressRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr = address.parse().map_err(|_| BadRange)?;
        let bits_max = if base.is_ipv4() { 32 } else { 128 };
        let digits = |p: &str| p.bytes().all(|b| b.is_ascii_digit());
        let prefix_bits = match prefix {
            None => bits_max,
            Some(p) if digits(p) => p.parse().ok().filter(|&p| p <= bits_max).ok_or(BadRange)?,
            Some(_) => return Err(BadRange),
        };
        let range = Self { base, prefix_bits };
        // A bit behind the prefix is a slip of the pen: 10.1.2.3/8 may have meant /32.
        let is_tidy = match base {
            IpAddr::V4(a) => a.to_bits().checked_shl(u32::from(prefix_bits)).unwrap_or(0) == 0,
            IpAddr::V6(a) => a.to_bits().checked_shl(u32::from(prefix_bits)).unwrap_or(0) == 0,
        };
        if is_tidy { Ok(range) } else { Err(BadRange) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("a range")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    //= meta#R-10 type=test
    #[test]
    fn inside_is_inside() {
        assert!(range("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!range("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(range("10.0.0.0/8").contains(ip("::ffff:10.1.1.1")), "one address in two notations");
        assert!(range("192.0.2.7").contains(ip("192.0.2.7")) && !range("192.0.2.7").contains(ip("192.0.2.8")));
        assert!(range("0.0.0.0/0").contains(ip("203.0.113.9")) && !range("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(range("fd00::/8").contains(ip("fd77::1")) && !range("fd00::/8").contains(ip("fe80::1")));
        assert!(range("::/0").contains(ip("2001:db8::1")));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "fd00::/129", "fd00::1/64", "10.0.0.0/+8", "10.0.0.0/", "example.org", "10.0.0/8", "/8"]
        {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(bits: u32, prefix in 0_u8..=32) {
            let masked = if prefix == 0 { 0 } else { bits >> (32 - prefix) << (32 - prefix) };
            let range = AddressRange { base: IpAddr::V4(masked.into()), prefix_bits: prefix };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            prop_assert!(range.contains(IpAddr::V4(bits.into())));
        }
    }
}
