//! The `http` source: records that clients push over HTTP, behind the write-ahead queue. It knows no other source.
//!
//! ```text
//! connection ─ server.rs ─ request.rs ─ head.rs, access.rs     who, what, how large
//!                              │ room in the queue, promised before the body is read
//!                              ├─ unpack.rs ─ body.rs           all records checked, one a line
//!                              ├─ queue.rs (a port)             one frame, durable
//!                              └─ reply.rs                      2xx
//! core ─ mod.rs ─ shard.rs ─ queue.rs                           frames read back as records
//! ```

mod access;
mod arrivals;
mod body;
pub mod config;
mod figures;
mod head;
mod pulse;
pub mod queue;
mod quota;
mod reply;
mod request;
mod server;
mod shard;
#[cfg(test)]
mod tests;
mod tls;
mod unpack;
mod waits;

pub use figures::Counts;
pub use tls::{TlsError, acceptor};

use access::Access;
use arrivals::Arrivals;
use async_trait::async_trait;
use config::HttpSource as HttpOptions;
use figures::Figures;
use queue::{Accepted, RequestQueue, Submission, Trouble};
use quota::Quotas;
use request::{Desk, now};
use sawlog_core::memory::Pool;
use sawlog_core::ports::{ReadError, ReadLimits, Source, SourceEvent};
use sawlog_record::batch::Input;
use sawlog_record::id::{Generation, PartitionId};
use server::Server;
use shard::{Identity, Shard};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use waits::Waits;

/// Why the source can't begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address can't be listened on.
    #[error("`listen`: {address} can't be listened on: {error}; choose a free port, or end the process that holds it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The queue is not what it should be.
    #[error("the queue can't be used: {0}")]
    Queue(#[from] Trouble),
}

/// The source. Share it in an `Arc`.
pub struct HttpIntake {
    desk: Arc<Desk>,
    shards: Arc<Vec<Shard>>,
    address: SocketAddr,
    events: Mutex<Events>,
    stop: watch::Sender<Option<Duration>>,
    closed: Mutex<Option<Closed>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What is needed to serve, until the core has said what it knows.
struct Closed {
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<SourceEvent>,
    /// Ends that were told, by shard.
    told: Vec<u64>,
    /// Nothing is taken any more, and that is to be said when all ends are told.
    closed: bool,
}

/// How long requests under way have to end when the source is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpIntake {
    /// The source `name` of `agent`, behind `queue`; requests that are being taken hold their part of `memory`. It listens at
    /// once; requests are served from [`Source::restore`] on, which is called on the tokio runtime that is to serve them.
    ///
    /// # Errors
    /// The address is taken, certificates can't be read, or the queue does not tell what its shards are.
    pub fn open(
        options: &HttpOptions,
        agent: &str,
        name: &str,
        queue: Arc<dyn RequestQueue>,
        memory: Arc<Pool>,
    ) -> Result<Self, OpenError> {
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let listen_error = |error| OpenError::Listen { address: options.listen, error };
        let listener = TcpListener::bind(options.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let options = HttpOptions { listen: address, ..options.clone() };
        Ok(Self {
            closed: Mutex::new(Some(Closed { listener, tls })),
            ..Self::behind(options, agent, name, queue, memory)?
        })
    }

    /// The same without an address: what it reads is put into its queue by [`HttpIntake::put`].
    ///
    /// # Errors
    /// The queue does not tell what its shards are.
    pub fn unserved(agent: &str, name: &str, queue: Arc<dyn RequestQueue>) -> Result<Self, Trouble> {
        Self::behind(HttpOptions::at(SocketAddr::from(([127, 0, 0, 1], 0))), agent, name, queue, Pool::unbounded())
    }

    fn behind(
        options: HttpOptions,
        agent: &str,
        name: &str,
        queue: Arc<dyn RequestQueue>,
        memory: Arc<Pool>,
    ) -> Result<Self, Trouble> {
        let shard = |shard| {
            let identity = Identity { shard, incarnation: queue.incarnation(shard)? };
            Ok(Shard::new(identity, agent, name))
        };
        let shards = (0..queue.shards()).map(shard).collect::<Result<Vec<_>, Trouble>>()?;
        let address = options.listen;
        let desk = Desk {
            access: Access::new(&options.auth),
            quotas: Quotas::new(options.limits.queue_per_client.map(|part| part.as_bytes())),
            options,
            arrivals: Arrivals::new(queue.shards()),
            queue,
            memory,
            grown: tokio::sync::Notify::new(),
            figures: Figures::default(),
            waits: Waits::default(),
        };
        Ok(Self {
            desk: Arc::new(desk),
            events: Mutex::new(Events { told: vec![0; shards.len()], ..Events::default() }),
            shards: Arc::new(shards),
            address,
            stop: watch::Sender::new(None),
            closed: Mutex::default(),
            server: Mutex::default(),
        })
    }

    /// Stores one record under an idempotency key, durably, behind those whose futures were polled before. It must hold no line
    /// break. To be polled to its end: until then it counts as a record that may still come.
    ///
    /// # Errors
    /// The queue is full or can't be written, or the key stands for another record.
    pub async fn put(&self, key: String, record: Vec<u8>) -> Result<Accepted, Trouble> {
        let room = self.desk.queue.reserve(record.len())?;
        let submission = Submission {
            accepted: 0,
            principal: String::new(),
            key: Some(key),
            form: shard::FORM_LINES,
            body: record.into(),
        };
        self.desk.store_here(room, submission).await
    }

    /// Where requests are taken; tells the port where the options leave it to the system.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What was taken and refused since the start; for metrics.
    pub fn counts(&self) -> Counts {
        self.desk.figures.counts()
    }

    /// How long the oldest request has been here that some sink has not finished; zero where there is none.
    pub fn oldest_age(&self) -> Duration {
        let now = now();
        let age = now.saturating_sub(self.desk.arrivals.oldest(now)).max(0);
        Duration::from_nanos(age.unsigned_abs())
    }

    /// Takes no more connections, lets requests under way end for `grace`, then cuts them. The queue may be closed after it.
    pub async fn stop(&self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        self.desk.waits.close();
        drop(lock(&self.closed).take());
        let server = lock(&self.server).take();
        if let Some(server) = server
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the server of a source ended badly");
        }
    }

    fn serve(&self) {
        let Some(Closed { listener, tls }) = lock(&self.closed).take() else { return };
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let server = Server { desk: self.desk.clone(), listener, tls };
                *lock(&self.server) = Some(tokio::spawn(server.run(self.stop.subscribe())));
            }
            Err(error) => tracing::error!(%error, address = %self.address, "no requests are served; restart the agent"),
        }
    }

    /// Announces a shard: as new where the journal does not know it, then how far it can be read.
    async fn announce(&self, number: usize, floor: Option<u64>) -> Result<(), Trouble> {
        let shard = &self.shards[number];
        let (first, durable) = self.desk.queue.extent(shard.identity.shard)?;
        if floor.is_none() {
            let (generation, partition, identity) = (shard.generation, shard.partition, shard.identity.write());
            lock(&self.events).waiting.push_back(SourceEvent::Opened {
                generation,
                partition,
                identity: identity.into(),
                start: first,
            });
        }
        let from = floor.unwrap_or(first).max(first);
        let (queue, number_there) = (self.desk.queue.clone(), shard.identity.shard);
        let looking = tokio::task::spawn_blocking(move || shard::look(&*queue, number_there, from, durable));
        let found = looking.await.map_err(|error| Trouble::Unavailable(error.to_string()))??;
        let mut events = lock(&self.events);
        events.told[number] = durable;
        if let Some(found) = found {
            self.desk.arrivals.found(number_there, found.end, found.oldest);
            events.waiting.push_back(SourceEvent::Available { generation: shard.generation, end: found.end });
        }
        Ok(())
    }

    /// The next event that is known without waiting.
    fn next_event(&self) -> Option<SourceEvent> {
        let mut events = lock(&self.events);
        if let Some(event) = events.waiting.pop_front() {
            return Some(event);
        }
        let grown = |(number, shard): (usize, &Shard)| {
            let (_, end) = self.desk.queue.extent(shard.identity.shard).ok()?;
            (end > events.told[number]).then_some((number, end))
        };
        if let Some((number, end)) = self.shards.iter().enumerate().find_map(grown) {
            events.told[number] = end;
            return Some(SourceEvent::Available { generation: self.shards[number].generation, end });
        }
        std::mem::take(&mut events.closed).then_some(SourceEvent::Finished)
    }

    fn index(&self, generation: Generation) -> Option<usize> {
        self.shards.iter().position(|shard| shard.generation == generation)
    }
}

#[async_trait]
impl Source for HttpIntake {
    async fn restore(&self, known: Vec<(Generation, PartitionId, Arc<[u8]>, u64)>) {
        for (generation, ..) in &known {
            if self.index(*generation).is_none() {
                tracing::error!(%generation, "a queue that the journal knows is gone from the data directory, with what was not delivered of it");
                lock(&self.events).waiting.push_back(SourceEvent::Gone { generation: *generation });
            }
        }
        for number in 0..self.shards.len() {
            let generation = self.shards[number].generation;
            let floor = known.iter().find(|(known, ..)| *known == generation).map(|(.., floor)| *floor);
            if let Err(error) = self.announce(number, floor).await {
                tracing::error!(%error, shard = number, "the stored requests of a shard can't be read; restart the agent");
            }
        }
        self.serve();
    }

    async fn event(&self) -> SourceEvent {
        loop {
            let grown = self.desk.grown.notified();
            if let Some(event) = self.next_event() {
                return event;
            }
            grown.await;
        }
    }

    async fn read(&self, generation: Generation, from: u64, to: u64, limits: ReadLimits) -> Result<Input, ReadError> {
        let Some(number) = self.index(generation) else { return Err(ReadError::Gone) };
        let (shards, queue) = (self.shards.clone(), self.desk.queue.clone());
        let reading = tokio::task::spawn_blocking(move || shards[number].read(&*queue, from, to, limits));
        reading.await.unwrap_or_else(|error| Err(ReadError::Unavailable(error.to_string())))
    }

    async fn anchor(&self, generation: Generation, _: u64) -> Vec<u8> {
        let incarnation = |number: usize| self.shards[number].identity.incarnation.to_vec();
        self.index(generation).map(incarnation).unwrap_or_default()
    }

    async fn trim(&self, generation: Generation, floor: u64) {
        let Some(number) = self.index(generation) else { return };
        let shard = self.shards[number].identity.shard;
        self.desk.waits.delivered(shard, floor);
        self.desk.arrivals.trim(shard, floor);
        self.desk.quotas.freed(shard, floor);
        if let Err(error) = self.desk.queue.trim(shard, floor).await {
            tracing::warn!(%error, shard, "delivered requests could not be given back; it is tried again");
        }
    }

    async fn oldest(&self, generation: Generation) -> Option<u64> {
        let shard = self.shards[self.index(generation)?].identity.shard;
        self.desk.queue.extent(shard).ok().map(|(oldest, _)| oldest)
    }

    async fn release(&self, _: Generation) {}

    async fn close(&self) {
        self.stop(CLOSE_GRACE).await;
        lock(&self.events).closed = true;
        self.desk.grown.notify_one();
    }

    fn promises(&self) -> bool {
        true
    }

    fn surplus_bytes(&self) -> u64 {
        self.desk.queue.surplus_bytes()
    }

    fn oldest_unplanned(&self) -> Option<i64> {
        Some(self.desk.arrivals.oldest(now()))
    }
}
