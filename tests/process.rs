//! What the kernel says of this process: its sockets, its memory.

use std::ops::RangeInclusive;

/// Local ports in `ports` of the IPv4 UDP sockets of this process, from the kernel's tables: other processes may use the same ones on other addresses.
pub fn bound(ports: &RangeInclusive<u16>) -> Vec<u16> {
    let links = std::fs::read_dir("/proc/self/fd").expect("our descriptors").flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let ours: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let table = std::fs::read_to_string("/proc/self/net/udp").expect("the kernel's table");
    let port = |line: &str| {
        let mut words = line.split_whitespace();
        let port = words.nth(1).and_then(|address| u16::from_str_radix(address.split_once(':')?.1, 16).ok())?;
        let inode = words.nth(7).map(|inode| format!("socket:[{inode}]"))?;
        (ports.contains(&port) && ours.contains(&inode)).then_some(port)
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// Resident memory in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's word");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1_024
}
