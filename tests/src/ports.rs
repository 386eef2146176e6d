//! Free ports that stay free, also across test processes.
//!
//! Binding port 0 and letting go of it again is a race: the kernel hands the same range to every outgoing connection of
//! the machine, and a server that is down between `kill -9` and its restart can lose its port to one of them. So:
//! ports come from below the kernel's ephemeral range, and each is reserved by a *UDP* socket on the same number. That
//! lock holds for as long as the [`Port`] lives, is seen by every process of the machine, needs no file, does not
//! disturb the TCP port, and is let go by the kernel however the process ends.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::RangeInclusive,
};

use anyhow::{Context, Result};

/// Attempts before giving up: the range has thousands of ports, so this many collisions mean something else is wrong.
const ATTEMPTS: usize = 1_000;

/// A TCP port on 127.0.0.1 that nobody else in any harness gets while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// Reserves a port on which nothing listens.
    ///
    /// # Errors
    /// When no free port was found, which means that sockets cannot be bound at all.
    pub fn reserve() -> Result<Self> {
        let range = below_ephemeral();
        for _ in 0..ATTEMPTS {
            let number = rand::random_range(range.clone());
            let Ok(lock) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            // Servers of others may listen on one address or on all of them: both must be free.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
                && TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok();
            if free {
                return Ok(Self { number, _lock: lock });
            }
        }
        anyhow::bail!("no free port in {range:?} after {ATTEMPTS} attempts")
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Ports that the kernel never gives to outgoing connections.
fn below_ephemeral() -> RangeInclusive<u16> {
    let first_ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .context("no port range in /proc")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u16>().ok())
        .unwrap_or(32_768);
    // Where an administrator made nearly everything ephemeral, any port is as good as another.
    let last = if first_ephemeral > 12_000 { first_ephemeral - 1 } else { 65_535 };
    10_000..=last
}
