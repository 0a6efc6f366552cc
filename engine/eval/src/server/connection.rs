//! Connections: how many there are, how long a client may take to ask, and how long to take the answer.
//!
//! HTTP itself is hyper's. What is added here is patience with an end. A header that does not arrive, and an answer that
//! is not taken, cost one connection for a limited time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;

use super::gauges::Gauges;
use super::routes::Peer;

/// Bytes of a request's header, at most.
const HEADER_BYTES: usize = 64 << 10;

/// Bytes that the system holds of an answer which is not taken yet. Streams are small; without a limit a slow reader would be
/// given megabytes ahead.
const SEND_BUFFER: u32 = 64 << 10;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long to wait when the system has no room for another connection.
const RETRY: Duration = Duration::from_millis(50);

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What connections keep to.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Most at once; further ones wait to be accepted.
    pub count: usize,
    /// How long a request's header may take, and how long a connection may be idle.
    pub header: Duration,
    /// How long a client may take nothing of its answer.
    pub patience: Duration,
}

/// Listens at `address`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that is started again need not wait for the old one's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until `stop`, then waits for those that are open.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    gauges: Arc<Gauges>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.count));
    let mut stopping = pin!(stopped(stop.clone()));
    let next = || {
        let places = Arc::clone(&places);
        let listener = &listener;
        async move {
            let place = places.acquire_owned().await.ok()?;
            if let Ok((stream, peer)) = listener.accept().await {
                return Some((stream, peer, place));
            }
            tokio::time::sleep(RETRY).await;
            None
        }
    };
    loop {
        let coming = pin!(next());
        let accepted = match futures_util::future::select(coming, &mut stopping).await {
            futures_util::future::Either::Left((accepted, _)) => accepted,
            futures_util::future::Either::Right(_) => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (service, stop, counted) = (Serve::new(router.clone(), peer), stop.clone(), gauges.connection());
        tokio::spawn(async move {
            serve(stream, service, limits, stop).await;
            drop((place, counted));
        });
    }
    drop(listener);
    let all = u32::try_from(limits.count).unwrap_or(u32::MAX);
    drop(places.acquire_many(all).await);
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone has stopped too.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve(stream: TcpStream, service: Serve, limits: ConnectionLimits, stop: watch::Receiver<bool>) {
    // Small pieces of a stream should not wait for one another; if the system refuses, they do.
    drop(stream.set_nodelay(true));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.patience)), service);
    let mut stopping = pin!(stopped(stop));
    let mut told = false;
    let outcome = std::future::poll_fn(|context| {
        if !told && stopping.as_mut().poll(context).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(context)
    });
    let outcome = outcome.await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner().stream;
    // An idle connection just ends; who has begun to ask hears why there is no answer.
    if outcome.is_err_and(|error| error.is_timeout()) && !parts.read_buf.is_empty() {
        drop(stream.try_write(TOO_SLOW));
    }
    drop(std::future::poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await);
}

/// The routes as a connection's service: each request knows where it comes from.
struct Serve {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl Serve {
    fn new(router: Router, peer: SocketAddr) -> Self {
        Self { router: TowerToHyperService::new(router), peer: Peer(peer) }
    }
}

impl Service<Request<Incoming>> for Serve {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        Box::pin(self.router.call(request))
    }
}

/// A connection that breaks when its client takes nothing for too long.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn watch(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
