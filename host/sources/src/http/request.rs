//! One request, in the order in which the delivery specification wants it: who, room, body, all records checked, one durable
//! frame, 2xx. It knows no connections.

use super::access::Access;
use super::arrivals::Arrivals;
use super::body::{Payload, payload};
use super::config::{Ack, HttpSource as HttpOptions};
use super::figures::Figures;
use super::head::{Head, is_ours, too_large};
use super::queue::{Accepted, RequestQueue, Room, Submission, Trouble};
use super::quota::{Part, Quotas};
use super::reply::{Refusal, Reply, taken};
use super::shard::FORM_LINES;
use super::unpack::{UnpackError, unpack};
use super::waits::Waits;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, EXPECT};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode, Version};
use sawlog_core::memory::{Hold, Pool};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bodies above this many bytes are unpacked and checked off the tasks that serve connections: below it, going to another thread
/// and back costs more than it spares the others.
const INLINE_BYTES_MAX: usize = 128 << 10;
/// How long a refused client may go on sending before it is answered.
const PASS_OVER_TIME: Duration = Duration::from_secs(2);
/// How long a request waits for room in memory before it is refused.
const CROWDED_TIME: Duration = Duration::from_secs(2);
/// A body takes memory as it was sent, and once more as records.
const COPIES: u64 = 2;

/// What requests need: shared by all connections.
pub struct Desk {
    /// The options of the source.
    pub options: HttpOptions,
    /// Who may send.
    pub access: Access,
    /// Where requests go.
    pub queue: Arc<dyn RequestQueue>,
    /// What each client may hold of it.
    pub quotas: Arc<Quotas>,
    /// Room in memory for those that are being taken.
    pub memory: Arc<Pool>,
    /// Their accept times.
    pub arrivals: Arrivals,
    /// Something was stored.
    pub grown: Notify,
    /// What was taken and refused.
    pub figures: Figures,
    /// Those that wait for sinks.
    pub waits: Waits,
}

/// Now, unix nanoseconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Desk {
    /// Answers a request that came over a connection of `certified`.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, certified: Option<Arc<str>>) -> Reply {
        let (parts, mut body) = request.into_parts();
        let refusal = match self.take(&parts, certified.as_deref(), &mut body).await {
            Ok(records) => return taken(records),
            Err(refusal) => refusal,
        };
        self.figures.refused(refusal.status);
        // Where a client waits to be asked for the body, or is too slow with it, it is not read.
        if !parts.headers.contains_key(EXPECT) && refusal.status != StatusCode::REQUEST_TIMEOUT {
            pass_over(&mut body, self.options.limits.body.as_usize()).await;
        }
        refusal.reply(parts.version <= Version::HTTP_11 && !body.is_end_stream())
    }

    async fn take(
        self: &Arc<Self>,
        parts: &Parts,
        certified: Option<&str>,
        body: &mut Incoming,
    ) -> Result<usize, Refusal> {
        let authorization = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let principal = self.access.principal(authorization, certified).ok_or_else(|| {
            Refusal::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong; send `Authorization: Bearer TOKEN`")
        })?;
        is_ours(parts, &self.options)?;
        let head = Head::read(parts, &self.options)?;
        let limits = &self.options.limits;
        // Who has used up its part is told before it sends a body.
        drop(self.part(&principal, 0)?);
        let room = self.queue.reserve(head.text_bytes_max(head.sent_bytes_max, limits) + 1).map_err(refusal)?;
        let key = head.key.clone();
        // One whose size is not told holds what it grows by.
        let mut held = self.hold(body.size_hint().exact().unwrap_or(0)).await?;
        let sent = self.sent(&head, body, &mut held).await?;
        let (payload, held) = self.payload(head, sent, held).await?;
        if payload.records > 0 {
            let part = self.part(&principal, payload.lines.len() as u64)?;
            let submission = Submission { accepted: 0, principal, key, form: FORM_LINES, body: payload.lines };
            let stored = self.store(room, submission, part).await.map_err(refusal)?;
            self.figures.taken(payload.records, stored.repeated);
            drop(held);
            if self.options.ack == Ack::AfterSinks {
                // One that came before lies below the end of its shard too.
                let end = self.queue.extent(stored.shard).map_or(u64::MAX, |(_, end)| end);
                self.waits.until(self.options.limits.ack_time, stored.shard, end).await?;
            }
        }
        Ok(payload.records)
    }

    /// So many bytes of what the client may hold of the queue.
    fn part(&self, client: &str, bytes: u64) -> Result<Part, Refusal> {
        self.quotas.take(client, bytes).ok_or_else(|| {
            let part = self.options.limits.queue_per_client.map(|part| part.to_string()).unwrap_or_default();
            let error = format!(
                "what you sent and is not delivered yet fills your part of the queue, {part}; send it again later, or raise `limits.queue_per_client`"
            );
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, error)
        })
    }

    /// Room in memory for a body of so many bytes. Who holds some never waits for more: all would wait for each other.
    async fn hold(&self, bytes: u64) -> Result<Hold, Refusal> {
        let waiting = async {
            loop {
                let freed = self.memory.freed();
                if let Some(held) = self.memory.take(bytes.saturating_mul(COPIES)) {
                    return held;
                }
                freed.await;
            }
        };
        timeout(CROWDED_TIME, waiting).await.map_err(|_| crowded())
    }

    async fn sent(&self, head: &Head, body: &mut Incoming, held: &mut Hold) -> Result<Vec<u8>, Refusal> {
        let limits = &self.options.limits;
        let reading = timeout(limits.body_time.as_duration(), self.whole(body, head.sent_bytes_max, held));
        reading.await.map_err(|_| {
            let error = format!("the body was not there after {}; send smaller requests", limits.body_time);
            Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
        })?
    }

    async fn payload(&self, head: Head, sent: Vec<u8>, mut held: Hold) -> Result<(Payload, Hold), Refusal> {
        let limits = &self.options.limits;
        let bytes_max = head.text_bytes_max(sent.len(), limits);
        if bytes_max <= INLINE_BYTES_MAX {
            return Ok((check(&head, sent, bytes_max, &mut held)?, held));
        }
        let checking = tokio::task::spawn_blocking(move || Ok((check(&head, sent, bytes_max, &mut held)?, held)));
        checking.await.map_err(|error| refusal(Trouble::Unavailable(error.to_string())))?
    }

    /// On a task of its own: if the client goes away the request is stored all the same, and known to be.
    async fn store(
        self: &Arc<Self>,
        room: Box<dyn Room>,
        submission: Submission,
        part: Part,
    ) -> Result<Accepted, Trouble> {
        let desk = self.clone();
        let storing = tokio::spawn(async move {
            let stored = desk.store_here(room, submission).await?;
            if let Ok((_, end)) = desk.queue.extent(stored.shard)
                && !stored.repeated
            {
                part.keep(stored.shard, end);
            }
            Ok(stored)
        });
        storing.await.map_err(|error| Trouble::Unavailable(error.to_string()))?
    }

    /// Stores a request; to be polled to its end.
    pub async fn store_here(&self, room: Box<dyn Room>, submission: Submission) -> Result<Accepted, Trouble> {
        let accepted = self.arrivals.begin(now());
        let result = room.store(Submission { accepted, ..submission }).await;
        self.settle(accepted, &result);
        result
    }

    fn settle(&self, stamp: i64, result: &Result<Accepted, Trouble>) {
        let fresh = result.as_ref().ok().filter(|stored| !stored.repeated);
        // Where the end can't be told the request is held to lie above any floor.
        let end = |shard| self.queue.extent(shard).map_or(u64::MAX, |(_, end)| end);
        self.arrivals.settle(stamp, fresh.map(|stored| (stored.shard, end(stored.shard))));
        self.grown.notify_one();
    }

    async fn whole(&self, body: &mut Incoming, bytes_max: usize, held: &mut Hold) -> Result<Vec<u8>, Refusal> {
        // Memory is held for a length that was told; one byte more ends the last line.
        let told = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let mut whole = Vec::with_capacity(told.map_or(0, |bytes| bytes.min(bytes_max) + 1));
        while let Some(frame) = body.frame().await {
            let broken = |error: hyper::Error| {
                Refusal::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}; send it again"))
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if whole.len() + data.len() > bytes_max {
                return Err(too_large(&self.options.limits));
            }
            whole.extend_from_slice(&data);
            let beyond = (COPIES * whole.len() as u64).saturating_sub(held.bytes());
            if beyond > 0 && !held.grow(beyond) {
                return Err(crowded());
            }
        }
        Ok(whole)
    }
}

/// Reads what a refused client still sends, within limits: one that is cut off while it sends does not see its answer.
async fn pass_over(body: &mut Incoming, bytes_max: usize) {
    let passing = async {
        let mut left = bytes_max;
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    if timeout(PASS_OVER_TIME, passing).await.is_err() {
        tracing::debug!("a refused client went on sending");
    }
}

fn crowded() -> Refusal {
    let error = "the memory for requests is used up; send it again later, or raise `limits.memory`";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
}

fn check(head: &Head, sent: Vec<u8>, bytes_max: usize, held: &mut Hold) -> Result<Payload, Refusal> {
    let text = unpack(head.coding, sent, bytes_max, |more| held.grow(COPIES * more as u64)).map_err(|error| {
        let status = match error {
            UnpackError::Crowded => return crowded(),
            UnpackError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            UnpackError::Damaged { .. } => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, error.to_string())
    })?;
    payload(head.form, text).map_err(|malformed| Refusal {
        status: StatusCode::BAD_REQUEST,
        error: malformed.to_string(),
        index: Some(malformed.index()),
    })
}

fn refusal(trouble: Trouble) -> Refusal {
    match trouble {
        Trouble::Full(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, trouble.to_string()),
        Trouble::KeyReused => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, trouble.to_string()),
        Trouble::Gone(why) | Trouble::Unavailable(why) => {
            tracing::error!(%why, "a pushed request could not be stored");
            let error = "whether the request is stored is not known; send it again with the same Idempotency-Key";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }
}
