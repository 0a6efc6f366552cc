//! [`Rendezvous`]: how the processes of a run meet.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use psann_core::{Error, Result};

use super::store::Store;

/// Where and as whom a process joins a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// Host that serves the store; rank 0's, unless `hosted`.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// This process's number, 0-based.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// What keys begin with; runs that share a store, and restarts of one run, each need their own.
    pub prefix: String,
    /// A launcher's agent serves the store already, so that rank 0 connects like the others.
    pub hosted: bool,
    /// How long to wait for other ranks, here and in every operation.
    pub timeout: Duration,
}

impl Rendezvous {
    /// Opens the store and waits for all ranks.
    ///
    /// # Errors
    /// Names the ranks that never came, or came twice, or believe in another number of ranks.
    pub fn join(&self) -> Result<Arc<Store>> {
        let Self { address, port, rank, size, timeout, .. } = self;
        if rank >= size {
            return Err(Error::usage(format!("there is no rank {rank} among {size} ranks"))
                .hint("ranks are numbered from 0; look at RANK and WORLD_SIZE, or what your launcher calls them"));
        }
        let store = if *rank == 0 && !self.hosted {
            Store::serve(address, *port, *timeout)?
        } else {
            Store::connect(address, *port, *timeout)?
        };
        let store = store.prefixed(&self.prefix)?;
        if store.add(&format!("claims/{rank}"), 1)? > 1 {
            return Err(Error::new(format!("two processes say that they are rank {rank}"))
                .hint("each process needs a rank of its own, each restart a prefix of its own"));
        }
        let key = |rank: usize| format!("size/{rank}");
        store.set(&key(*rank), size.to_string().as_bytes())?;
        let keys: Vec<String> = (0..*size).map(key).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        if let Err(error) = store.wait(&keys, *timeout) {
            let missing: Vec<usize> = store.missing(&keys)?.iter().filter_map(|key| key[5..].parse().ok()).collect();
            return Err(Error::new(format!("{} never came to `{address}:{port}` within {timeout:?}", ranks(&missing)))
                .hint(
                    "all ranks need the same address, port and number of ranks; look at the output of the missing ones",
                )
                .because(error));
        }
        for (other, key) in keys.iter().enumerate() {
            let theirs = String::from_utf8_lossy(&store.get(key)?).into_owned();
            if theirs != size.to_string() {
                return Err(Error::new(format!("rank {other} is one of {theirs} ranks, rank {rank} one of {size}"))
                    .hint("start all ranks with the same number of ranks"));
            }
        }
        Ok(Arc::new(store))
    }

    /// This machine's own address on the way to the rendezvous, which other ranks can therefore reach. A machine's name
    /// is no help: it often resolves to the loopback, or in containers to nothing.
    pub fn own_address(&self) -> Option<IpAddr> {
        let target = (self.address.as_str(), self.port).to_socket_addrs().ok()?.next()?;
        let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        // Sends nothing: for UDP it only asks the system for the route.
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }
}

/// `rank 3`, `ranks 1 and 3`, `ranks 1, 2 and 3`.
pub fn ranks(ranks: &[usize]) -> String {
    let names: Vec<String> = ranks.iter().map(usize::to_string).collect();
    match names.split_last() {
        None => "no rank".to_owned(),
        Some((last, [])) => format!("rank {last}"),
        Some((last, others)) => format!("ranks {} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendezvous(port: u16, rank: usize, size: usize, milliseconds: u64) -> Rendezvous {
        Rendezvous {
            address: "127.0.0.1".into(),
            port,
            rank,
            size,
            prefix: "test".into(),
            hosted: true,
            timeout: Duration::from_millis(milliseconds),
        }
    }

    #[test]
    fn ranks_that_never_come_are_named() {
        let agent = Store::serve("127.0.0.1", 0, Duration::from_secs(30)).unwrap();
        let error = rendezvous(agent.port(), 1, 4, 50).join().unwrap_err();
        assert!(error.message().starts_with("ranks 0, 2 and 3 never came"), "{error}");
    }

    #[test]
    fn a_rank_that_comes_twice_is_refused() {
        let agent = Store::serve("127.0.0.1", 0, Duration::from_secs(30)).unwrap();
        rendezvous(agent.port(), 0, 1, 30_000).join().unwrap();
        let error = rendezvous(agent.port(), 0, 1, 30_000).join().unwrap_err();
        assert_eq!(error.message(), "two processes say that they are rank 0");
    }

    #[test]
    fn ranks_must_agree_on_their_number() {
        let agent = Store::serve("127.0.0.1", 0, Duration::from_secs(30)).unwrap();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let join = |rank, size| {
                let rendezvous = rendezvous(agent.port(), rank, size, 30_000);
                scope.spawn(move || rendezvous.join().map(|_| ()))
            };
            [join(0, 2), join(1, 2), join(2, 3)].map(|thread| thread.join().unwrap()).into()
        });
        let error = outcomes[2].as_ref().unwrap_err();
        assert_eq!(error.message(), "rank 0 is one of 2 ranks, rank 2 one of 3");
        assert!(rendezvous(agent.port(), 2, 2, 50).join().unwrap_err().message().starts_with("there is no rank 2"));
    }

    #[test]
    fn the_own_address_towards_the_loopback_is_the_loopback() {
        assert_eq!(rendezvous(29_500, 0, 1, 1).own_address().unwrap().to_string(), "127.0.0.1");
    }
}
