//! Bytes that no client sends, on real connections: damaged requests, damaged frames, damaged messages in good frames.
//! Whatever comes, the server goes on, panics nowhere, and forgets the connections.
//!
//! Runs for as many seconds as `LANDFALL_TEST_SECONDS` says; `LANDFALL_TEST_SEED` sets what is sent.

mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use world::{Backend, World, client_schema, issue_op};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// How long a connection may go on answering before the next one is tried.
const PATIENT: Duration = Duration::from_millis(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Messages of all kinds, as clients send them.
fn messages() -> Vec<Json> {
    let issues = json!({"table": "issue", "orderBy": [["id", "asc"]], "limit": 2});
    let put = json!({"op": "put", "hash": "h", "ast": issues});
    let op = issue_op("update", json!({"id": "i1", "title": "theirs"}));
    let mutation = json!({"type": "crud", "id": 1, "clientID": "c", "name": "_zero_crud",
        "args": [{"ops": [op]}], "timestamp": 1});
    vec![
        json!(["initConnection", {"desiredQueriesPatch": [put], "clientSchema": client_schema()}]),
        json!(["changeDesiredQueries", {"desiredQueriesPatch": [put]}]),
        json!(["push", {"clientGroupID": "g", "mutations": [mutation], "pushVersion": 1, "timestamp": 1, "requestID": "r"}]),
        json!(["pull", {"clientGroupID": "g", "cookie": null, "requestID": "r"}]),
        json!(["deleteClients", {"clientIDs": ["d"]}]),
        json!(["updateAuth", {"auth": "t"}]),
        json!(["ackMutationResponses", {"clientID": "c", "id": 1}]),
        json!(["inspect", {"op": "version", "id": "i"}]),
        json!(["ping", {}]),
    ]
}

fn request(group: &str, init: bool) -> Vec<u8> {
    let header = match init {
        true => json!({"initConnectionMessage": messages()[0]}),
        false => json!({}),
    };
    let encoded = base64::engine::general_purpose::STANDARD.encode(header.to_string());
    let protocol = utf8_percent_encode(&encoded, NON_ALPHANUMERIC);
    format!(
        "GET /sync/v51/connect?clientID=c&clientGroupID={group}&ts=1&lmid=0&wsid=w&landfall=1 HTTP/1.1\r\n\
         Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
    .into_bytes()
}

/// A client's frame.
fn frame(random: &mut StdRng, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask: [u8; 4] = random.random();
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

fn damage(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(1..9)).min(bytes.len());
        match random.random_range(0..5) {
            0 => drop(bytes.drain(at..end)),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            2 if at < bytes.len() => bytes[at] = random.random(),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let tokens: [&[u8]; 9] = [
                    b"null",
                    b"[",
                    b"}",
                    b"-1",
                    b"1e400",
                    b"\\ud800",
                    b"\r\n",
                    b"%",
                    b"\xff\xff\xff\xff\xff\xff\xff\xff",
                ];
                let token = tokens[random.random_range(0..tokens.len())];
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
}

/// Frames that break the rules of frames.
fn wrong_frame(random: &mut StdRng) -> Vec<u8> {
    let first = [0x00, 0x80, 0x01, 0x83, 0x8b, 0xc1, 0xf1, 0x09, 0x08, 0x82];
    let long = vec![b'x'; 200];
    match random.random_range(0..6) {
        0 => frame(random, 0x89, &long),
        1 => frame(random, 0x88, b"\x03"),
        2 => frame(random, 0x81, b"\xff\xfe\xfd"),
        3 => b"\x81\x05plain".to_vec(),
        4 => [&[0x81, 0xff], u64::MAX.to_be_bytes().as_slice(), b"mask"].concat(),
        _ => {
            let first = first[random.random_range(0..first.len())];
            frame(random, first, b"[\"ping\",{}]")
        }
    }
}

/// What one connection sends.
fn conversation(random: &mut StdRng) -> Vec<u8> {
    let group = format!("g{}", random.random_range(0..50));
    let mut bytes = request(&group, random.random());
    if random.random_ratio(1, 4) {
        damage(random, &mut bytes);
    }
    let messages = messages();
    for _ in 0..random.random_range(0..6) {
        let message = &messages[random.random_range(0..messages.len())];
        let mut text = message.to_string().into_bytes();
        let next = match random.random_range(0..4) {
            0 => wrong_frame(random),
            1 => {
                let mut whole = frame(random, 0x81, &text);
                damage(random, &mut whole);
                whole
            }
            2 => {
                let (begin, end) = text.split_at(text.len() / 2);
                let (begin, end) = (frame(random, 0x01, begin), frame(random, 0x80, end));
                [begin, end].concat()
            }
            _ => {
                damage(random, &mut text);
                frame(random, 0x81, &text)
            }
        };
        bytes.extend(next);
    }
    bytes
}

/// Sends in a few pieces, and listens for a moment or until the server has had enough.
async fn talk(address: std::net::SocketAddr, bytes: &[u8], pieces: usize) {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    for piece in bytes.chunks(bytes.len() / pieces + 1) {
        if socket.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 4096];
    let listen = async { while socket.read(&mut answer).await.is_ok_and(|read| read > 0) {} };
    // Whether it has had enough is its own affair.
    let _ = tokio::time::timeout(PATIENT, listen).await;
}

async fn connections(world: &World) -> String {
    let url = format!("http://{}/metrics", world.running().address);
    let text = reqwest::get(url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    let line = text
        .lines()
        .find(|line| line.starts_with("landfall_connections "));
    line.unwrap_or("no such metric").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_the_server_goes_on() {
    let seed = number("LANDFALL_TEST_SEED").unwrap_or_else(|| rand::rng().next_u64());
    println!("LANDFALL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let world = World::new(Backend::Embedded).await;
    let query = json!({"table": "issue", "orderBy": [["id", "asc"]]});
    let mut witness = world.client("witness", "w").put("h", query).open().await;
    witness.got("h").await;
    let address = world.running().address;
    let time = Duration::from_secs(number("LANDFALL_TEST_SECONDS").unwrap_or(4));
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < time {
        let talks = (0..8).map(|_| {
            let bytes = conversation(&mut random);
            let pieces = random.random_range(1..4);
            async move { talk(address, &bytes, pieces).await }
        });
        futures::future::join_all(talks).await;
        sent += 8;
        assert_eq!(
            PANICS.load(Ordering::SeqCst),
            0,
            "a panic after {sent} connections"
        );
    }
    println!("{sent} connections");
    // Whoever behaves has noticed nothing.
    world
        .sql("UPDATE issue SET title = 'still here' WHERE id = 'i2'")
        .await;
    while witness.row("issue", "i2").expect("there")["title"] != "still here" {
        witness.poke().await;
    }
    let begun = Instant::now();
    while connections(&world).await != "landfall_connections 1" {
        assert!(
            begun.elapsed() < world::PATIENCE,
            "{}",
            connections(&world).await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    drop(witness);
    world.end().await;
}
