//! Connections: accepting, bounding and ending them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

/// Connections at once; further ones wait in the kernel's queue. Dashboards and senders keep a few dozen.
const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may take to end once the server stops. Write requests take milliseconds; a query that runs
/// longer is cut off.
const GRACE: Duration = Duration::from_secs(30);

/// Whose connection a request came through; among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// Places for connections.
#[derive(Debug)]
pub struct Connections(Arc<Semaphore>);

impl Default for Connections {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }
}

impl Connections {
    /// How many are open, and how many may be. The one that is waited for next counts as open.
    pub fn open_and_max(&self) -> (usize, usize) {
        (CONNECTIONS_MAX - self.0.available_permits(), CONNECTIONS_MAX)
    }
}

/// Serves `router` until `stop` resolves, then ends: no new connections, idle ones closed, requests in flight finished.
/// Whether all of them finished in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    room: &Connections,
    stop: impl Future<Output = ()>,
) -> bool {
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (stream, peer, permit) = accept(&listener, &room.0) => {
                connect((stream, peer), permit, &router, &connections)
            }
        }
    }
    drop(listener);
    tokio::time::timeout(GRACE, connections.shutdown()).await.is_ok()
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                // Out of file descriptors, most likely: they come back as connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connect(
    (stream, peer): (TcpStream, SocketAddr),
    permit: OwnedSemaphorePermit,
    router: &Router,
    connections: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let service =
        TowerToHyperService::new(router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Client(peer));
            request.map(Body::new)
        }));
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}
