//! A wire to a Kafka broker that holds the end of a transaction back: the request is kept, its connection goes, the client asks
//! again over another one, and once the next transaction has its first message, the request that was kept arrives after all.

use anyhow::{Context as _, Result, ensure};
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keys of Kafka's requests.
const PRODUCE: u16 = 0;
const END_TXN: u16 = 26;
const FRAME_BYTES_MAX: usize = 64 << 20;

/// How far it is.
enum Stage {
    /// Everything passes.
    Passing,
    /// The next end of a transaction will be kept.
    Armed,
    /// It is kept, and the client has not asked again.
    Kept(Kept),
    /// The client has asked again over another connection.
    Repeated(Kept),
    /// It has arrived in the next transaction; nothing passes any more. The broker's answer, an error code of Kafka.
    Arrived(Option<i16>),
}

/// The request, and the connection to the broker on which it waits.
struct Kept {
    broker: TcpStream,
    frame: Vec<u8>,
}

struct State {
    stage: Mutex<Stage>,
    changed: Condvar,
}

/// The wire; its threads end with the process.
pub struct StrayEnd(Arc<State>);

impl StrayEnd {
    /// A wire to the broker at `to` that listens at `here`.
    pub fn start(here: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(here)?;
        let state = Arc::new(State { stage: Mutex::new(Stage::Passing), changed: Condvar::new() });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || {
                    if pass(client, to, &state).is_err() {
                        // Either side has gone, and the other one sees its end.
                    }
                });
            }
        });
        Ok(Self(state))
    }

    /// The next end of a transaction goes astray.
    pub fn arm(&self) {
        self.0.put(Stage::Armed);
    }

    /// Waits until the stray request was answered: the error code of Kafka, where 0 means that it ended a transaction.
    pub fn answer(&self, max: Duration) -> Result<i16> {
        let deadline = Instant::now() + max;
        let mut stage = self.0.lock();
        loop {
            match &*stage {
                Stage::Arrived(Some(code)) => return Ok(*code),
                other => {
                    let how_far = other.name();
                    let left = deadline.checked_duration_since(Instant::now());
                    let left = left.with_context(|| format!("{how_far} after {max:?}"))?;
                    stage = self.0.changed.wait_timeout(stage, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Everything passes again, over new connections.
    pub fn pass_again(&self) {
        self.0.put(Stage::Passing);
    }
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Passing => "nothing was asked for",
            Self::Armed => "no transaction has ended",
            Self::Kept(_) => "the client has not asked again",
            Self::Repeated(_) => "no other transaction has begun",
            Self::Arrived(_) => "the broker has not answered the stray request",
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, stage: Stage) {
        *self.lock() = stage;
        self.changed.notify_all();
    }
}

/// The body of the next frame.
fn frame(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!((4..FRAME_BYTES_MAX).contains(&length), "a frame of {length} bytes");
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn put(to: &mut TcpStream, body: &[u8]) -> Result<()> {
    let length = u32::try_from(body.len())?.to_be_bytes();
    Ok(to.write_all(&[&length[..], body].concat())?)
}

fn request_key(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// Requests that wait for their answers, in order, by their keys.
type Asked = Arc<Mutex<std::collections::VecDeque<u16>>>;

/// Passes one connection on, frame by frame.
fn pass(client: TcpStream, to: SocketAddr, state: &Arc<State>) -> Result<()> {
    if matches!(*state.lock(), Stage::Arrived(_)) {
        return Ok(());
    }
    let broker = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let asked = Asked::default();
    let (answers_from, answers_to) = (broker.try_clone()?, client.try_clone()?);
    let (answer_state, answer_asked) = (state.clone(), asked.clone());
    std::thread::spawn(move || {
        let done = answers(answers_from, &answers_to, &answer_state, &answer_asked);
        answers_to.shutdown(Shutdown::Both).and(Ok(done))
    });
    let done = requests(&client, &broker, state, &asked);
    match done {
        Ok(End::Kept) => client.shutdown(Shutdown::Both)?,
        _ => broker.shutdown(Shutdown::Both)?,
    }
    Ok(())
}

enum End {
    /// The broker's connection stays: a request is still to go over it.
    Kept,
    Frozen,
}

fn requests(mut client: &TcpStream, broker: &TcpStream, state: &State, asked: &Asked) -> Result<End> {
    let mut out = broker.try_clone()?;
    loop {
        let body = frame(&mut client)?;
        let key = request_key(&body);
        let mut stage = state.lock();
        match &*stage {
            Stage::Arrived(_) => return Ok(End::Frozen),
            Stage::Armed if key == END_TXN => {
                *stage = Stage::Kept(Kept { broker: broker.try_clone()?, frame: body });
                return Ok(End::Kept);
            }
            Stage::Kept(_) if key == END_TXN => {
                if let Stage::Kept(kept) = std::mem::replace(&mut *stage, Stage::Passing) {
                    *stage = Stage::Repeated(kept);
                }
            }
            _ => {}
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(key);
        put(&mut out, &body)?;
    }
}

fn answers(mut broker: TcpStream, mut client: &TcpStream, state: &State, asked: &Asked) -> Result<()> {
    let mut out = client.try_clone()?;
    loop {
        let body = frame(&mut broker)?;
        let key = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut stage = state.lock();
        match (&mut *stage, key) {
            // No request of the client waits on this connection: the answer to what was kept.
            (Stage::Arrived(code @ None), None) => {
                *code = body.get(8..10).map(|code| i16::from_be_bytes([code[0], code[1]]));
                state.changed.notify_all();
                return Ok(());
            }
            (Stage::Arrived(_), _) => return Ok(client.flush()?),
            (Stage::Repeated(_), Some(PRODUCE)) => {
                if let Stage::Repeated(mut kept) = std::mem::replace(&mut *stage, Stage::Arrived(None)) {
                    put(&mut kept.broker, &kept.frame)?;
                }
                return Ok(());
            }
            _ => {}
        }
        drop(stage);
        if put(&mut out, &body).is_err() {
            // The client has gone, but what was kept may still be answered here.
        }
    }
}
