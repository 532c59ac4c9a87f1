//! Connections: small writes go out at once, peers that have vanished are noticed, and TLS where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// A silent connection is asked after this long whether its peer is there, and so often again.
const SILENCE: Duration = Duration::from_secs(5);
const ASKED: u32 = 3;
/// What was sent and not acknowledged for so long went to nobody.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// How long agreeing on keys may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that have agreed and wait to be served.
const BACKLOG: usize = 64;

/// A listener whose connections send tokens as they come and notice a peer that has gone without a word.
pub(crate) fn plain(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| tune(stream))
}

fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(SILENCE)
        .with_retries(ASKED);
    let socket = SockRef::from(stream);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED)));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection keeps its defaults");
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// From PEM: the certificate with those that vouch for it, and the private key.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> io::Result<Self> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {error}"))
        };
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| wrong("the certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|error| wrong("the private key", &error))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| wrong("the certificate and its key", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// A listener whose connections have agreed on keys. Agreeing happens beside accepting, so that a slow peer holds up nobody.
pub(crate) struct Secure {
    address: SocketAddr,
    agreed: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Secure {
    pub fn new(listener: TcpListener, Tls(acceptor): Tls) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, agreed) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            let mut listener = plain(listener);
            while !sender.is_closed() {
                let (stream, peer) = listener.accept().await;
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // Who no longer serves needs no connection.
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection"),
                        Err(_) => tracing::debug!(%peer, "no TLS connection in time"),
                    }
                });
            }
        });
        Ok(Self { address, agreed })
    }
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.agreed.recv().await {
            Some(connection) => connection,
            // The task that accepts ends only after this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
