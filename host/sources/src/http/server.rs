//! Connections: how many at once, how long each may be quiet, TLS, and their end. What a request means is the desk's.

use super::access::certified;
use super::pulse::Pulse;
use super::reply::turned_away;
use super::request::Desk;
use hyper::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How long to wait when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a quiet connection has for its goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Smallest buffer that hyper reads HTTP/1 heads with, in bytes.
const HEAD_BUFFER_BYTES_MIN: usize = 8 << 10;
/// HTTP/2 streams that a client may open and reset before they are served; more end the connection.
const RESETS_MAX: usize = 20;

/// `Some` ends the server: connections have so long to finish.
pub type Stop = watch::Receiver<Option<Duration>>;

/// Accepts connections and serves each on a task of its own.
pub struct Server {
    /// Answers requests.
    pub desk: Arc<Desk>,
    /// Where connections come in.
    pub listener: TcpListener,
    /// Speaks TLS on them.
    pub tls: Option<TlsAcceptor>,
}

impl Server {
    /// Serves until told to stop.
    pub async fn run(self, mut stop: Stop) {
        let (mut connections, addresses) = (JoinSet::new(), Arc::new(Addresses::default()));
        let grace = loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer.ip(), &addresses, &mut connections, &stop),
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted; check the limit on open files");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                grace = ending(&mut stop) => break grace,
            }
        };
        drop(self.listener);
        let all_done = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, all_done).await.is_err() {
            tracing::warn!("connections were cut that did not end in time; their clients send again");
        }
    }

    fn admit(&self, stream: TcpStream, ip: IpAddr, addresses: &Arc<Addresses>, all: &mut JoinSet<()>, stop: &Stop) {
        let limits = &self.desk.options.limits;
        let turn_away = |status| {
            self.desk.figures.refused(status);
            // One try: the buffer of a new connection is empty, and nobody waits for a client that is turned away.
            if self.tls.is_none()
                && let Err(error) = stream.try_write(turned_away(status).as_bytes())
            {
                tracing::debug!(%error, "a client that was turned away had gone");
            }
        };
        if all.len() >= limits.connections as usize {
            return turn_away(StatusCode::SERVICE_UNAVAILABLE);
        }
        let Some(seat) = addresses.seat(ip, limits.connections_per_address) else {
            return turn_away(StatusCode::TOO_MANY_REQUESTS);
        };
        let (desk, tls, stop) = (self.desk.clone(), self.tls.clone(), stop.clone());
        all.spawn(async move {
            serve(desk, stream, tls, stop).await;
            drop(seat);
        });
    }
}

async fn ending(stop: &mut Stop) -> Duration {
    // Nobody is left who could say it: stop at once.
    stop.wait_for(Option::is_some).await.map_or(Duration::ZERO, |grace| grace.unwrap_or_default())
}

async fn serve(desk: Arc<Desk>, stream: TcpStream, tls: Option<TlsAcceptor>, stop: Stop) {
    let Some(tls) = tls else { return speak(desk, TokioIo::new(stream), None, stop).await };
    match timeout(desk.options.limits.header_time.as_duration(), tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let client = certificates.and_then(<[_]>::first).map(|one| Arc::from(certified(one)));
            speak(desk, TokioIo::new(stream), client, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a client did not get through TLS"),
        Err(_) => tracing::debug!("a client was too slow for TLS"),
    }
}

async fn speak<I>(desk: Arc<Desk>, io: I, client: Option<Arc<str>>, mut stop: Stop)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let pulse = Pulse::start();
    let (first, further) = (desk.options.limits.header_time, desk.options.limits.idle_time);
    let builder = protocol(&desk);
    let service = {
        let pulse = pulse.clone();
        service_fn(move |request| {
            let (beat, desk, client) = (pulse.beat(), desk.clone(), client.clone());
            async move {
                let reply = desk.answer(request, client).await;
                drop(beat);
                Ok::<_, Infallible>(reply)
            }
        })
    };
    let mut connection = Box::pin(builder.serve_connection(io, service).into_owned());
    let time = tokio::select! {
        ended = connection.as_mut() => return said(ended),
        () = pulse.quiet(first.as_duration(), further.as_duration()) => GOODBYE,
        grace = ending(&mut stop) => grace,
    };
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(time, connection).await {
        said(ended);
    }
}

fn said(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke off");
    }
}

fn protocol(desk: &Desk) -> Builder<TokioExecutor> {
    let limits = &desk.options.limits;
    let header_bytes = limits.header_bytes.as_usize();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The pulse sees to time.
        .header_read_timeout(None)
        .max_headers(limits.headers as usize)
        .max_buf_size(header_bytes.max(HEAD_BUFFER_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX);
    builder
}

/// Connections by address; an IPv6 client is the network of 64 bits that it chooses its addresses from.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, u32>>);

#[derive(Debug)]
struct Seat {
    addresses: Arc<Addresses>,
    client: IpAddr,
}

impl Addresses {
    fn seat(self: &Arc<Self>, ip: IpAddr, seats_max: u32) -> Option<Seat> {
        let client = match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
            v4 => v4,
        };
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= seats_max {
            return None;
        }
        *count += 1;
        Some(Seat { addresses: self.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}
