//! A wire between the agent and a service: bytes pass until it is told to swallow, delay or cut what comes back. What it does
//! not know is what the bytes mean.

use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What becomes of replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// They are dropped, while the connections stay open.
    Swallowed,
    /// Each comes later by this.
    Delayed(Duration),
    /// Half of one comes, then the connection is gone.
    Cut,
}

/// A wire on loopback; its threads end with the process.
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    fault: Mutex<Option<Fault>>,
    touched: AtomicUsize,
    /// Connections whose reader misses something, or may; closed when the fault is over.
    spoilt: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// A wire to the broker of the test services, at the place that it tells its clients.
    pub fn to_kafka() -> Result<Self> {
        let address = |name: &str| -> Result<SocketAddr> {
            let value = std::env::var(name).with_context(|| format!("{name} is not set"))?;
            value.parse().with_context(|| format!("{name} is {value}"))
        };
        Self::at(address("SAWLOG_TEST_KAFKA_WIRE")?, address("SAWLOG_TEST_KAFKA_BEHIND_WIRE")?)
    }

    /// A wire to the service of this URL, on any port of loopback.
    pub fn to_url(url: &str) -> Result<Self> {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        Self::at(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            host.parse().with_context(|| format!("no host and port: {url}"))?,
        )
    }

    fn at(here: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(here)?;
        let wire = Self { address: listener.local_addr()?, state: Arc::default() };
        let state = wire.state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || {
                    if pass(client, to, &state).is_err() {
                        // Either side has gone, and the other one sees its end.
                    }
                });
            }
        });
        Ok(wire)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same for HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on replies meet `fault`.
    pub fn spoil(&self, fault: Fault) {
        *lock(&self.state.fault) = Some(fault);
    }

    /// Bytes pass again. Connections that miss something are closed.
    pub fn mend(&self) {
        *lock(&self.state.fault) = None;
        for connection in lock(&self.state.spoilt).drain(..) {
            if connection.shutdown(Shutdown::Both).is_err() {
                // It is closed already.
            }
        }
    }

    /// Pieces of replies that met a fault so far.
    pub fn touched(&self) -> usize {
        self.state.touched.load(Ordering::Relaxed)
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes one connection on, until either side closes it or a fault does.
fn pass(client: TcpStream, to: SocketAddr, state: &Arc<State>) -> Result<()> {
    let server = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut requests, mut requests_out) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        if std::io::copy(&mut requests, &mut requests_out).is_err() {
            // The reply side closes both.
        }
        requests_out.shutdown(Shutdown::Write)
    });
    let done = reply(server.try_clone()?, client.try_clone()?, state);
    for end in [client, server] {
        if end.shutdown(Shutdown::Both).is_err() {
            // It is closed already.
        }
    }
    done
}

fn reply(mut server: TcpStream, mut client: TcpStream, state: &State) -> Result<()> {
    let (mut piece, mut spoilt) = (vec![0; 64 << 10], false);
    loop {
        let bytes = server.read(&mut piece)?;
        if bytes == 0 {
            return Ok(());
        }
        let fault = *lock(&state.fault);
        state.touched.fetch_add(usize::from(fault.is_some()), Ordering::Relaxed);
        match fault {
            Some(Fault::Swallowed) => {
                if !spoilt {
                    lock(&state.spoilt).push(client.try_clone()?);
                }
                spoilt = true;
            }
            // What came before is missing.
            _ if spoilt => return Ok(()),
            Some(Fault::Cut) => return Ok(client.write_all(&piece[..bytes / 2])?),
            Some(Fault::Delayed(by)) => {
                std::thread::sleep(by);
                client.write_all(&piece[..bytes])?;
            }
            None => client.write_all(&piece[..bytes])?,
        }
    }
}
