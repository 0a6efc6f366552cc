//! [`Store`]: the key-value store through which the ranks of a run find one another.
//!
//! One process serves it, the others connect. It also carries what is too small or too rare for a group: who saw which
//! rank fail, what a background writer has finished. Therefore any thread may use it, and a thread that waits for a key
//! does so on a connection of its own instead of holding up the others.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use psann_core::{Error, Result};

use super::ffi::StoreHandle;

/// Between two attempts to reach a store that nobody serves yet.
const RETRY: Duration = Duration::from_millis(20);

/// A view of the store under one prefix.
pub struct Store {
    handle: StoreHandle,
    /// `address:port`, for errors.
    place: String,
    timeout: Duration,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Store {
    /// Serves a store on `port` of this machine and connects to it. Only this machine can reach it when `address` is
    /// the loopback.
    pub fn serve(address: &str, port: u16, timeout: Duration) -> Result<Self> {
        // The host of the store need not know its own name: in containers it often does not.
        let addresses = resolve(address, port).unwrap_or_default();
        let loopback = addresses.iter().map(SocketAddr::ip).find(IpAddr::is_loopback);
        let listener = match loopback {
            Some(ip) => TcpListener::bind((ip, port)),
            None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse => Err(error),
                _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
            }),
        };
        let listener = listener.map_err(|error| cannot_listen(port, error))?;
        let port = listener.local_addr().map_err(|error| cannot_listen(port, error))?.port();
        let own = loopback.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string();
        Self::open(&own, port, Some(listener.into()), timeout)
    }

    /// Connects to the store that another process serves at `address`, or will serve soon.
    pub fn connect(address: &str, port: u16, timeout: Duration) -> Result<Self> {
        let addresses = resolve(address, port).map_err(|error| {
            Error::new(format!("the rendezvous address `{address}` does not resolve"))
                .hint("give the address of the machine that runs rank 0, or its number, such as 10.0.0.7")
                .because(error)
        })?;
        let deadline = Instant::now() + timeout;
        wait_for_server(&addresses, deadline)
            .map_err(|error| unreachable(&format!("{address}:{port}"), timeout, error))?;
        Self::open(address, port, None, timeout)
    }

    fn open(address: &str, port: u16, listener: Option<OwnedFd>, timeout: Duration) -> Result<Self> {
        let place = format!("{address}:{port}");
        let handle = StoreHandle::connect(address, port, listener, timeout).map_err(|error| {
            Error::new(format!("cannot reach the rendezvous at `{place}` within {timeout:?}"))
                .hint(
                    "rank 0 (or the launcher's agent) serves it there: was it started, and can this machine reach it?",
                )
                .because(error)
        })?;
        Ok(Self { handle, place, timeout })
    }

    /// The same store seen through keys that begin with `prefix/`.
    pub fn prefixed(&self, prefix: &str) -> Result<Self> {
        let handle = self.handle.prefixed(prefix)?;
        Ok(Self { handle, place: self.place.clone(), timeout: self.timeout })
    }

    /// Where the ranks of the subgroup of this number meet.
    pub(super) fn of_subgroup(&self, number: u64, ranks: &[usize]) -> Result<Self> {
        let names: Vec<String> = ranks.iter().map(usize::to_string).collect();
        self.prefixed(&format!("subgroup/{number}/{}", names.join(",")))
    }

    /// How long [`Store::get`] waits for its key.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The port that it is served on.
    pub fn port(&self) -> u16 {
        self.place.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// Writes a value, replacing the one that is there.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.handle.set(key, value).map_err(|error| self.lost(error))
    }

    /// The value of `key`, waiting until somebody writes it.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.wait(&[key], self.timeout)?;
        self.handle.get(key).map_err(|error| self.lost(error))
    }

    /// The value of `key` if somebody wrote it.
    pub fn find(&self, key: &str) -> Result<Option<Vec<u8>>> {
        if self.contains(key)? { self.handle.get(key).map(Some).map_err(|error| self.lost(error)) } else { Ok(None) }
    }

    /// Adds to a counter, which begins at zero; the sum afterwards.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        self.handle.add(key, amount).map_err(|error| self.lost(error))
    }

    /// Removes a key; whether it was there.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.handle.delete(key).map_err(|error| self.lost(error))
    }

    /// Whether somebody wrote `key`.
    pub fn contains(&self, key: &str) -> Result<bool> {
        self.handle.contains(key).map_err(|error| self.lost(error))
    }

    /// Waits until all of `keys` are written.
    ///
    /// # Errors
    /// Names the keys that nobody wrote within `timeout`.
    pub fn wait(&self, keys: &[&str], timeout: Duration) -> Result<()> {
        let missing = self.missing(keys)?;
        if missing.is_empty() {
            return Ok(());
        }
        let waiting = self.handle.reconnected().map_err(|error| self.lost(error))?;
        let deadline = Instant::now() + timeout;
        for key in missing {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(error) = waiting.wait(key, left) {
                let missing = self.missing(keys)?;
                if missing.is_empty() {
                    return Ok(());
                }
                return Err(Error::new(format!("nobody wrote `{}` within {timeout:?}", missing.join("`, `")))
                    .within(format!("rendezvous `{}`", self.place))
                    .because(error));
            }
        }
        Ok(())
    }

    /// Those of `keys` that nobody wrote yet.
    pub fn missing<'a>(&self, keys: &[&'a str]) -> Result<Vec<&'a str>> {
        let mut missing = Vec::new();
        for &key in keys {
            if !self.contains(key)? {
                missing.push(key);
            }
        }
        Ok(missing)
    }

    pub(super) fn handle(&self) -> &StoreHandle {
        &self.handle
    }

    fn lost(&self, error: Error) -> Error {
        Error::new(format!("the rendezvous at `{}` is gone", self.place))
            .hint("the process that served it (rank 0, or the launcher's agent) has ended: look at its output first")
            .because(error)
    }
}

fn resolve(address: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (address, port).to_socket_addrs().map(Iterator::collect)
}

/// Returns once somebody listens at one of `addresses`. c10d would try again only every second or so, and the host is
/// usually up within milliseconds of the other ranks.
fn wait_for_server(addresses: &[SocketAddr], deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(RETRY);
        let attempts: Vec<_> = addresses.iter().map(|address| TcpStream::connect_timeout(address, left)).collect();
        let mut failure = io::ErrorKind::NotFound.into();
        for attempt in attempts {
            match attempt {
                Ok(_) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        if Instant::now() >= deadline {
            return Err(failure);
        }
        std::thread::sleep(RETRY);
    }
}

fn unreachable(place: &str, timeout: Duration, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(format!("cannot reach the rendezvous at `{place}` within {timeout:?}"))
        .hint("rank 0 (or the launcher's agent) serves it there: was it started, and may this machine connect to it?")
        .because(cause)
}

fn cannot_listen(port: u16, error: io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} of this machine is already in use"),
        _ => format!("cannot listen on port {port}"),
    };
    Error::new(message).hint("choose another port for the rendezvous; another run may hold this one").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn pair() -> (Store, Store) {
        let server = Store::serve("127.0.0.1", 0, PATIENCE).unwrap();
        let client = Store::connect("127.0.0.1", server.port(), PATIENCE).unwrap();
        (server, client)
    }

    #[test]
    fn what_one_writes_the_other_reads_under_the_same_prefix() {
        let (server, client) = pair();
        let (server, client) = (server.prefixed("run/0").unwrap(), client.prefixed("run/0").unwrap());
        server.set("name", b"psann\0\xff").unwrap();
        server.set("empty", b"").unwrap();
        assert_eq!(client.get("name").unwrap(), b"psann\0\xff");
        assert_eq!(client.get("empty").unwrap(), b"");
        assert_eq!(client.find("other").unwrap(), None);
        assert_eq!([server.add("count", 2).unwrap(), client.add("count", 3).unwrap()], [2, 5]);
        assert!(server.delete("name").unwrap());
        assert!(!client.contains("name").unwrap());
        assert!(!server.prefixed("run/1").unwrap().contains("count").unwrap());
    }

    #[test]
    fn a_waiting_thread_does_not_hold_up_others() {
        let (server, client) = pair();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| client.get("answer").unwrap());
            // Goes through the connection that the waiting thread began with.
            client.set("question", b"?").unwrap();
            server.get("question").unwrap();
            client.set("answer", b"42").unwrap();
            assert_eq!(waiting.join().unwrap(), b"42");
        });
    }

    #[test]
    fn a_key_that_nobody_writes_is_named() {
        let (server, _client) = pair();
        server.set("here", b"").unwrap();
        let error = server.wait(&["here", "there"], Duration::from_millis(10)).unwrap_err();
        assert!(error.message().ends_with("nobody wrote `there` within 10ms"), "{error}");
    }

    #[test]
    fn a_port_in_use_and_a_silent_address_are_said() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Store::serve("127.0.0.1", port, PATIENCE).unwrap_err();
        assert_eq!(error.message(), format!("port {port} of this machine is already in use"));
        drop(taken);
        let error = Store::connect("127.0.0.1", port, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.message(), format!("cannot reach the rendezvous at `127.0.0.1:{port}` within 50ms"));
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn a_store_whose_server_ended_is_said_to_be_gone() {
        let (server, client) = pair();
        drop(server);
        let error = client.set("key", b"").and_then(|()| client.contains("key")).unwrap_err();
        assert!(error.message().ends_with("is gone"), "{error}");
    }
}
