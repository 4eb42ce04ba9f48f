//! A rename that comes too late, through a proxy before the namenode that holds it back.

use crate::lakes::{cluster, hdfs_options};
use sawlog_core::ports::PutOutcome;
use sawlog_sinks::hdfs::HdfsOptions;
use sawlog_sinks::object::Blobs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// The call that is held back; its name stands in the request as it is.
const CALL: &[u8] = b"rename2";

/// Where the proxy says that the call has come, and waits for leave to pass it on.
type Barrier = Arc<Mutex<Option<(Sender<()>, Receiver<()>)>>>;

/// A proxy before `namenode` that holds back the first rename; its URL, what tells that the rename has come, and what lets it go.
fn proxy(namenode: &str) -> (String, Receiver<()>, Sender<()>) {
    let namenode = namenode.trim_start_matches("hdfs://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("hdfs://{}", listener.local_addr().unwrap());
    let ((came, has_come), (go, may_go)) = (channel(), channel());
    let barrier: Barrier = Arc::new(Mutex::new(Some((came, may_go))));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (server, barrier) = (TcpStream::connect(&namenode).unwrap(), barrier.clone());
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || pass(client, server, &barrier));
        }
    });
    (url, has_come, go)
}

fn pass(mut client: TcpStream, mut server: TcpStream, barrier: &Barrier) {
    let mut bytes = [0; 64 << 10];
    while let Ok(len @ 1..) = client.read(&mut bytes) {
        if bytes[..len].windows(CALL.len()).any(|window| window == CALL)
            && let Some((came, may_go)) = barrier.lock().unwrap().take()
        {
            came.send(()).unwrap();
            may_go.recv().unwrap();
        }
        if server.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}

/// The other writer sweeps the file that is about to be renamed away, and has its own at the target: what is there is not ours,
/// though our file is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_whose_file_a_twin_swept_away_is_none() {
    let Some(options) = hdfs_options("a_rename_whose_file_a_twin_swept_away_is_none") else { return };
    let (url, has_come, go) = proxy(&options.url);
    let slow = cluster(&HdfsOptions { url, ..options.clone() });
    let twin = cluster(&options);
    let putting = tokio::spawn(async move { slow.put_if_absent("claim", b"slow".to_vec().into()).await.unwrap() });
    tokio::task::spawn_blocking(move || has_come.recv().unwrap()).await.unwrap();
    twin.prepare().await.unwrap();
    assert_eq!(twin.put_if_absent("claim", b"twin".to_vec().into()).await.unwrap(), PutOutcome::Created);
    go.send(()).unwrap();
    assert_eq!(putting.await.unwrap(), PutOutcome::Exists, "nobody else may take the twin's claim for its own");
    assert_eq!(twin.get("claim").await.unwrap().unwrap(), b"twin");
}
