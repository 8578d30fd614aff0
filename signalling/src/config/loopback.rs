//! A configuration that never leaves this machine.
//!
//! Decides: addresses. Given: media ports. Refuses: nothing; what a call is, who may call and where Graph is, its user adds.

use super::Config;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

impl Config {
    /// For tests, examples and demonstrations: listens and speaks on 127.0.0.1 only, its web server on a port of the system's choice, its media on `ports`, and a stop waits
    /// one second for running calls.
    ///
    /// ```
    /// let config = tipring_signalling::config::Config::on_loopback(41_000..=41_099);
    /// assert!(config.http.listen.ip().is_loopback() && config.engine.addresses.iter().all(|a| a.is_loopback()));
    /// ```
    #[must_use]
    pub fn on_loopback(ports: RangeInclusive<u16>) -> Self {
        let mut config = Self { drain_max: Duration::from_secs(1), ..Self::default() };
        config.http.listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.engine.addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        config.engine.allow_loopback = true;
        config.engine.ports = ports;
        config
    }
}
