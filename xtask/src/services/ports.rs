//! Free ports on loopback, for services that must keep theirs over a restart.
//!
//! Chosen below the range from which the kernel takes the ports of outgoing connections: while a killed service is
//! away, no client may be given its port, or be connected with itself by trying to reconnect.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;

/// How many ports this process has looked at; two threads never look at the same one.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens now.
pub fn free() -> Result<u16> {
    // Runs beside each other start in different places; a clash is found by the bind below.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORT_COUNT {
        let offset = start.wrapping_add(u32::from(LOOKED_AT.fetch_add(1, Ordering::Relaxed))) % u32::from(PORT_COUNT);
        let port = PORT_FIRST + u16::try_from(offset)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {PORT_FIRST} on is free: end what listens there")
}
