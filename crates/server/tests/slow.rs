//! A client behind a slow line: it gets everything in its time, and nobody waits for it.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use world::{Backend, World};

/// Bytes in a tenth of a second while the line is slow: 2 KB a second.
const SLOW: usize = 205;

/// A line to a server that is slow in the direction of the client until `slow` is false.
async fn line(server: std::net::SocketAddr, slow: Arc<AtomicBool>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server, slow.clone()));
        }
    });
    address
}

async fn pass(client: TcpStream, server: std::net::SocketAddr, slow: Arc<AtomicBool>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    // What the line holds itself is little, or the server would be rid of everything at once.
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let upstream = socket.connect(server).await.expect("the server");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut bytes = vec![0; 65_536];
    loop {
        let room = match slow.load(Ordering::Relaxed) {
            true => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                SLOW
            }
            false => bytes.len(),
        };
        match from_server.read(&mut bytes[..room]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if to_client.write_all(&bytes[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn check(version: u32) {
    let world = World::new(Backend::Embedded).await;
    let rows = 6_000;
    world
        .sql(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO comment SELECT 'n' || i, 'i1', printf('%.1000c', 'x') FROM n"
        ))
        .await;
    let slow = Arc::new(AtomicBool::new(true));
    let server = world.running().address;
    let address = line(server, slow.clone()).await;
    let comments = json!({"table": "comment"});
    let mut quick = world
        .client("quick", "q")
        .put("h", comments.clone())
        .open()
        .await;
    quick.got("h").await;
    let mut builder = world
        .client("slow", "s")
        .version(version)
        .put("h", comments);
    builder.url = builder
        .url
        .replace(&server.to_string(), &address.to_string());
    let opened = tokio::spawn(async move {
        let mut client = builder.open().await;
        client.got("h").await;
        client
    });
    // Longer than a connection may stand still, and changes all the while: each reaches the others at once.
    let begun = Instant::now();
    let mut round = 0;
    let shown = |client: &world::Client, round: i32| {
        client.row("comment", "c1").expect("there")["body"] == format!("{round}")
    };
    // The others would wait for minutes if they waited for the slow one.
    while begun.elapsed() < Duration::from_secs(13) {
        round += 1;
        world
            .sql(&format!(
                "UPDATE comment SET body = '{round}' WHERE id = 'c1'"
            ))
            .await;
        let told = Instant::now();
        while !shown(&quick, round) {
            quick.poke().await;
        }
        assert!(
            told.elapsed() < Duration::from_secs(30),
            "{:?}",
            told.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!opened.is_finished(), "the line was slow");
    slow.store(false, Ordering::Relaxed);
    let mut client = tokio::time::timeout(world::PATIENCE, opened)
        .await
        .expect("in time")
        .expect("one connection to the end");
    while !shown(&client, round) {
        client.poke().await;
    }
    assert_eq!(client.rows, quick.rows);
    assert_eq!(client.rows.len(), rows + 3);
    drop((client, quick));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_hydration_over_a_slow_line_in_text_parts() {
    check(51).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_hydration_over_a_slow_line_in_binary_parts() {
    check(52).await;
}
