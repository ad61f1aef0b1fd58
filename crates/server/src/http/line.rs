//! The writing side of a connection: whoever has something to send hands it to the kernel at once, and only what the
//! kernel does not take waits for the connection's task.
//!
//! Everything that is written goes through here, the library's answers to pings included, so that frames never mix.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::frames::{PONG, write_at_hand, write_message};
use crate::session::{Frame, Port};

/// Bytes that are handed to a socket together.
const AT_ONCE: usize = 64 << 10;
/// A connection of which the kernel takes nothing for so long is given up. A kernel takes more when a good part of what
/// it has is gone: with a reader of 2 KB a second that was 15 seconds.
const STALL: Duration = Duration::from_secs(30);
/// A connection on which no request has been answered for so long is given up, unless a WebSocket has begun. Longer than
/// a poll waits for its answer.
const SILENCE: Duration = Duration::from_secs(120);

thread_local! {
    /// Where frames are put together before the kernel copies them.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection's socket, and what waits for it.
pub(super) struct Line {
    stream: TcpStream,
    /// Waiting bytes from which the connection counts as congested.
    limit: usize,
    /// Whether the WebSocket has begun: what the library writes are whole frames from then on.
    is_open: AtomicBool,
    /// Whether something was sent since that was last asked.
    spoke: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Tells the connection's task that something waits.
    left: Notify,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Bytes of all items, and of what the connection's task is writing.
    bytes: usize,
    /// The connection's task is writing: nobody may overtake it.
    is_written: bool,
    /// Somebody waits for there to be nothing.
    is_watched: bool,
    /// The connection ends when nothing waits.
    is_last: bool,
    /// The connection is at its end: nothing is taken any more.
    is_over: bool,
}

enum Item {
    Frame(Frame),
    /// Bytes of frames, or what is left of them.
    Raw(Bytes),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Frame(frame) => frame.size(),
            Item::Raw(bytes) => bytes.len(),
        }
    }
}

/// What the connection's task is to do next.
enum Next {
    Write {
        bytes: Vec<u8>,
        length: usize,
        closes: bool,
    },
    Read {
        frame: Frame,
        length: usize,
    },
    Wait,
    End,
}

/// How a connection's writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing waits any more, which somebody wants to know. There may be more later.
    Drained,
    /// It closed, it cannot be written to, or everything is written after which nothing comes.
    Ended,
}

impl Port for Line {
    fn send(&self, frames: Vec<Frame>) {
        self.spoke.store(true, Ordering::Relaxed);
        let length: usize = frames.iter().map(Frame::size).sum();
        let mut waiting = self.waiting.lock();
        let is_small = length <= AT_ONCE && frames.iter().all(is_plain);
        if is_small && waiting.is_idle() {
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                for frame in frames {
                    if let Err(error) = write_at_hand(scratch, frame) {
                        tracing::error!(%error, "a frame that is in memory cannot be read");
                    }
                }
                self.write_now(&mut waiting, scratch);
            });
        } else {
            waiting.push(length, frames.into_iter().map(Item::Frame));
        }
        self.tell(&waiting);
    }

    fn congested(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let is_congested = waiting.bytes > self.limit;
        waiting.is_watched |= is_congested;
        is_congested
    }
}

/// Whether a frame can be written without a look at anything else.
fn is_plain(frame: &Frame) -> bool {
    frame.is_at_hand() && !matches!(frame, Frame::Close(_))
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.items.is_empty() && !self.is_written && !self.is_over
    }

    fn push(&mut self, length: usize, items: impl Iterator<Item = Item>) {
        if !self.is_over {
            self.items.extend(items);
            self.bytes += length;
        }
    }

    fn end(&mut self) {
        *self = Waiting {
            is_over: true,
            ..Waiting::default()
        };
    }
}

impl Line {
    fn new(stream: TcpStream, limit: usize) -> Self {
        Line {
            stream,
            limit,
            is_open: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            waiting: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// From here on what the library writes are whole frames, which others may come between.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Whether something was sent since this was last asked.
    pub(super) fn spoke(&self) -> bool {
        self.spoke.swap(false, Ordering::Relaxed)
    }

    /// Nothing comes after what waits now: `write` ends when that is written.
    pub(super) fn finish(&self) {
        self.waiting.lock().is_last = true;
        self.left.notify_one();
    }

    /// The connection has ended; what still waits is given up.
    pub(super) fn end(&self) {
        self.waiting.lock().end();
    }

    /// Writes what waits, and what comes to wait. What this future holds is lost with it.
    pub(super) async fn write(&self, id: u64) -> Written {
        loop {
            let (bytes, length, closes) = match self.next() {
                Next::Wait => {
                    self.left.notified().await;
                    continue;
                }
                Next::End => return Written::Ended,
                Next::Write {
                    bytes,
                    length,
                    closes,
                } => (bytes, length, closes),
                Next::Read { frame, length } => match read(id, frame).await {
                    Some(bytes) => (bytes, length, false),
                    None => return Written::Ended,
                },
            };
            if !self.write_all(id, &bytes).await || closes {
                return Written::Ended;
            }
            if self.is_drained_by(length) {
                return Written::Drained;
            }
        }
    }

    /// Takes out what can be written together.
    fn next(&self) -> Next {
        let mut waiting = self.waiting.lock();
        if waiting.is_over {
            return Next::End;
        }
        let (mut bytes, mut length, mut closes) = (Vec::new(), 0, false);
        while length < AT_ONCE && !closes {
            let is_stored = |item: &Item| matches!(item, Item::Frame(it) if !it.is_at_hand());
            match waiting.items.front() {
                Some(item) if is_stored(item) && !bytes.is_empty() => break,
                Some(_) => {}
                None => break,
            }
            let Some(item) = waiting.items.pop_front() else {
                break;
            };
            length += item.len();
            match item {
                Item::Raw(raw) => bytes.extend_from_slice(&raw),
                Item::Frame(frame) if !frame.is_at_hand() => {
                    waiting.is_written = true;
                    return Next::Read { frame, length };
                }
                Item::Frame(frame) => {
                    closes = matches!(frame, Frame::Close(_));
                    if let Err(error) = write_at_hand(&mut bytes, frame) {
                        tracing::error!(%error, "a frame that is in memory cannot be read");
                    }
                }
            }
        }
        waiting.is_written = !bytes.is_empty();
        match (waiting.is_written, waiting.is_last) {
            (true, _) => Next::Write {
                bytes,
                length,
                closes,
            },
            (false, true) => Next::End,
            (false, false) => {
                waiting.items.shrink_to_fit();
                Next::Wait
            }
        }
    }

    /// Tells that bytes are written. True if somebody waits for there to be nothing, and there is nothing.
    fn is_drained_by(&self, length: usize) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.bytes = waiting.bytes.saturating_sub(length);
        waiting.bytes == 0 && std::mem::take(&mut waiting.is_watched)
    }

    /// The address at the other end; none when the connection is gone.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.stream.peer_addr().ok().map(|address| address.ip())
    }

    /// Hands bytes to the kernel; what it does not take waits.
    fn write_now(&self, waiting: &mut Waiting, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(0) => return waiting.end(),
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let rest = Item::Raw(Bytes::copy_from_slice(bytes));
                    return waiting.push(bytes.len(), [rest].into_iter());
                }
                // The reading side ends the connection for the same reason.
                Err(_) => return waiting.end(),
            }
        }
    }

    /// Whole frames of the library's own. A client that sends pings and takes nothing gets no pongs in the end: they
    /// would pile up.
    fn write_raw(&self, bytes: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.is_idle() {
            self.write_now(&mut waiting, bytes);
        } else if waiting.bytes <= self.limit || bytes.first() != Some(&PONG) {
            let item = Item::Raw(Bytes::copy_from_slice(bytes));
            waiting.push(bytes.len(), [item].into_iter());
        }
        self.tell(&waiting);
    }

    fn tell(&self, waiting: &Waiting) {
        if !waiting.items.is_empty() && !waiting.is_written {
            self.left.notify_one();
        }
    }

    /// Writes bytes, however long it takes, as long as the kernel takes some.
    async fn write_all(&self, id: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(0) => return false,
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match tokio::time::timeout(STALL, self.stream.writable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return false,
                        Err(_) => {
                            tracing::info!(connection = id, "connection given up: no byte moves");
                            metrics::counter!("landfall_connections_stalled_total").increment(1);
                            return false;
                        }
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

/// Reads a frame that is not in memory.
async fn read(id: u64, frame: Frame) -> Option<Vec<u8>> {
    let read = tokio::task::spawn_blocking(|| frame.messages()).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(messages) => {
            let mut bytes = Vec::new();
            messages.iter().for_each(|it| write_message(&mut bytes, it));
            Some(bytes)
        }
        Err(error) => {
            // The client comes back and gets a poke that can be read.
            tracing::error!(connection = id, %error, "a stored poke cannot be read");
            None
        }
    }
}

/// A line, as a request finds it.
#[derive(Clone)]
pub(super) struct ItsLine(pub(super) Arc<Line>);

/// Accepts connections.
pub(super) struct LineListener {
    inner: TcpListener,
    limit: usize,
}

impl LineListener {
    /// `limit` is the number of waiting bytes from which a connection counts as congested.
    pub(super) fn new(inner: TcpListener, limit: usize) -> Self {
        LineListener { inner, limit }
    }
}

impl Listener for LineListener {
    type Io = LineStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The listener of tokio already waits out errors such as too many open files.
        let (stream, address) = Listener::accept(&mut self.inner).await;
        // A poke is several small frames: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let line = Arc::new(Line::new(stream, self.limit));
        (LineStream::new(line, SILENCE), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

impl Connected<IncomingStream<'_, LineListener>> for ItsLine {
    fn connect_info(stream: IncomingStream<'_, LineListener>) -> Self {
        ItsLine(stream.io().line.clone())
    }
}

/// A line, as libraries read and write it.
pub(super) struct LineStream {
    line: Arc<Line>,
    /// How long the other side may be without an answer.
    silence: Duration,
    /// Until when something is to be answered. What arrives does not put it off: a request that never ends is silence.
    patience: Pin<Box<Sleep>>,
}

impl LineStream {
    fn new(line: Arc<Line>, silence: Duration) -> Self {
        let patience = Box::pin(sleep(silence));
        LineStream {
            line,
            silence,
            patience,
        }
    }
}

impl Drop for LineStream {
    fn drop(&mut self) {
        // Others may hold the line, and must not keep the peer waiting for its end.
        self.line.end();
        // It may be closed already.
        let _ = socket2::SockRef::from(&self.line.stream).shutdown(std::net::Shutdown::Both);
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_open = self.line.is_open.load(Ordering::Acquire);
        if !is_open && self.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let stream = &self.line.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.line.is_open.load(Ordering::Acquire) {
            self.line.write_raw(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let until = Instant::now() + self.silence;
        self.patience.as_mut().reset(until);
        let stream = &self.line.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = socket2::SockRef::from(&self.line.stream);
        Poll::Ready(socket.shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn pair(limit: usize) -> (Arc<Line>, TcpStream) {
        let (line, peer) = fresh_pair(limit).await;
        line.open();
        (line, peer)
    }

    /// No WebSocket has begun.
    async fn fresh_pair(limit: usize) -> (Arc<Line>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let line = Line::new(accepted.expect("accepted").0, limit);
        (Arc::new(line), peer.expect("connected"))
    }

    fn text(letter: char, length: usize) -> Vec<Frame> {
        vec![Frame::Text(letter.to_string().repeat(length).into())]
    }

    async fn message(peer: &mut TcpStream) -> Vec<u8> {
        let mut header = [0; 2];
        peer.read_exact(&mut header).await.expect("a frame");
        let length = match header[1] {
            126 => usize::from(peer.read_u16().await.expect("a length")),
            127 => peer.read_u64().await.expect("a length") as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        peer.read_exact(&mut payload).await.expect("a payload");
        payload
    }

    #[tokio::test]
    async fn what_the_kernel_takes_is_gone_at_once() {
        let (line, mut peer) = pair(0).await;
        line.send(text('a', 10));
        assert!(!line.congested());
        assert_eq!(message(&mut peer).await, b"aaaaaaaaaa");
    }

    #[tokio::test]
    async fn what_it_does_not_take_waits_in_order_and_its_end_is_told() {
        let (line, mut peer) = pair(1 << 20).await;
        let lengths = [20 << 20, 50_000, 300, 1 << 20, 7];
        for (at, length) in lengths.into_iter().enumerate() {
            line.send(text(char::from(b'a' + at as u8), length));
            // A ping, as the library would send it.
            line.write_raw(b"\x89\x01!");
        }
        assert!(line.congested());
        let reading = async {
            for (at, length) in lengths.into_iter().enumerate() {
                let payload = message(&mut peer).await;
                assert_eq!(payload.len(), length);
                assert!(payload.iter().all(|byte| *byte == b'a' + at as u8));
                assert_eq!(message(&mut peer).await, b"!");
            }
        };
        let (written, ()) = tokio::join!(line.write(1), reading);
        assert_eq!(written, Written::Drained);
        assert!(!line.congested());
        line.send(vec![Frame::Close(None)]);
        line.send(text('z', 1));
        assert_eq!(line.write(1).await, Written::Ended);
        assert_eq!(message(&mut peer).await, b"");
    }

    #[tokio::test]
    async fn pongs_do_not_pile_up() {
        let (line, _peer) = pair(100).await;
        line.send(text('a', 20 << 20));
        let before = line.waiting.lock().bytes;
        for _ in 0..1000 {
            line.write_raw(b"\x8a\x01!");
        }
        assert_eq!(line.waiting.lock().bytes, before);
        line.write_raw(b"\x88\x00");
        assert_eq!(line.waiting.lock().bytes, before + 2);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_given_up_and_a_websocket_is_not() {
        let (line, mut peer) = fresh_pair(0).await;
        let mut stream = LineStream::new(line.clone(), Duration::from_millis(200));
        let dripping = async {
            loop {
                peer.write_all(b"G").await.expect("written");
                sleep(Duration::from_millis(10)).await;
            }
        };
        let reading = async {
            loop {
                if let Err(error) = stream.read(&mut [0; 16]).await {
                    return error.kind();
                }
            }
        };
        let ended = tokio::select! { kind = reading => kind, () = dripping => unreachable!() };
        assert_eq!(ended, ErrorKind::TimedOut);
        // An answer begins the time anew.
        stream.write_all(b"OK").await.expect("written");
        peer.write_all(b"G").await.expect("written");
        stream.read_exact(&mut [0]).await.expect("read in time");
        line.open();
        sleep(Duration::from_millis(300)).await;
        peer.write_all(b"!").await.expect("written");
        while stream.read_u8().await.expect("read for ever") != b'!' {}
    }

    #[tokio::test]
    async fn after_the_last_word_writing_ends_and_nothing_is_taken() {
        let (line, mut peer) = pair(0).await;
        line.send(text('a', 1 << 20));
        line.finish();
        let (written, payload) = tokio::join!(line.write(1), message(&mut peer));
        assert_eq!((written, payload.len()), (Written::Ended, 1 << 20));
        line.end();
        line.send(text('b', 1));
        assert!(line.waiting.lock().items.is_empty());
    }
}
