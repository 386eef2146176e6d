//! A name server that answers as a container engine's does: with the address of every container of a service, at once.
//!
//! RFC 1035, as much of it as a resolver needs that asks for addresses of one name a packet.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

type Names = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// Answers until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    names: Names,
    address: SocketAddr,
    /// The thread ends when this is dropped.
    _alive: Arc<()>,
}

impl NameServer {
    /// On any port. Knows nobody yet.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start() -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// On an address of the caller's: programs that read `/etc/resolv.conf` ask port 53.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start_at(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (names, alive) = (Names::default(), Arc::new(()));
        let server = Self { names: names.clone(), address: socket.local_addr()?, _alive: alive.clone() };
        std::thread::spawn(move || {
            let mut packet = [0; 1_024];
            // The server holds the other one.
            while Arc::strong_count(&alive) > 1 {
                let Ok((length, asker)) = socket.recv_from(&mut packet) else { continue };
                if let Some(answer) = answer(&packet[..length], &names) {
                    socket.send_to(&answer, asker).ok();
                }
            }
        });
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a name stand for these addresses from now on.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses.to_vec());
    }
}

fn answer(question: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let end = at + 4;
    let known = names.lock().unwrap_or_else(PoisonError::into_inner).get(&labels.join(".")).cloned();
    // Type 1 is A. For AAAA the name exists and has none.
    let addresses = known.clone().filter(|_| kind == 1).unwrap_or_default();
    let mut answer = question.get(..2)?.to_vec();
    // A response, recursion desired and available; NXDOMAIN for a name that nobody knows.
    answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    for address in addresses {
        // The name again, as a pointer to the question; A, IN, one second to live, four bytes.
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
