//! Addresses as containers have them: an IP address a replica, and ports that all replicas of a service share.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::ports::Port;

/// Addresses that every replica of a service has in common; each replica has an IP address of its own, as in a container.
#[derive(Debug)]
pub struct Ports {
    /// The protocol's.
    pub protocol: Port,
    /// The admin port.
    pub admin: Port,
}

/// Addresses for replicas, in a loopback network that this test process alone is likely to use; they need no set-up.
#[derive(Debug)]
pub struct Network {
    second: u8,
    third: u8,
    last: u8,
}

impl Ports {
    /// Two free ones.
    ///
    /// # Errors
    /// When there are none.
    pub fn reserve() -> Result<Self> {
        Ok(Self { protocol: Port::reserve()?, admin: Port::reserve()? })
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network of its own.
    #[must_use]
    pub fn new() -> Self {
        let id = std::process::id().to_be_bytes();
        // 127.0 is everybody's.
        Self { second: (id[2] & 0x7F) | 0x80, third: id[3], last: 0 }
    }

    /// One more address.
    pub fn address(&mut self) -> Ipv4Addr {
        self.last += 1;
        Ipv4Addr::new(127, self.second, self.third, self.last)
    }
}
