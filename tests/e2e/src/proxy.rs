//! A proxy as companies have them: CONNECT for https, whole addresses for http. It counts who comes through.

use anyhow::{Context, Result};
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A proxy on loopback; its threads end with the process.
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self { address: listener.local_addr()?, connections: Arc::default() };
        let connections = proxy.connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let connections = connections.clone();
                std::thread::spawn(move || {
                    if pass(client, &connections).is_err() {
                        // Either side has gone; the other one sees its end.
                    }
                });
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that went through.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Passes one connection on to where its first request asks for.
fn pass(mut client: TcpStream, connections: &AtomicUsize) -> Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD_BYTES_MAX && client.read(&mut byte)? == 1, "no whole head");
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().context("a request has a target")?);
    let authority = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut server = TcpStream::connect(authority)?;
    connections.fetch_add(1, Ordering::Relaxed);
    match method {
        "CONNECT" => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?,
        _ => server.write_all(&head)?,
    }
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)?;
    Ok(())
}
