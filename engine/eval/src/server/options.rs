//! [`ServerOptions`]: what a server keeps to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use psann_core::{Error, Result};

use super::body::BodyLimits;
use super::connection::ConnectionLimits;

/// What a server keeps to.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where it listens; port 0 takes any that is free.
    pub address: SocketAddr,
    /// What clients must send as a bearer token; `None` lets everybody in.
    pub key: Option<String>,
    /// Whether it may be reached from other machines without a key.
    pub open: bool,
    /// Most texts in progress; each has a cache.
    pub streams: usize,
    /// Most texts that wait for their turn.
    pub queue: usize,
    /// Most tokens of a completion; `None` leaves it to the context.
    pub max_tokens: Option<usize>,
    /// Most tokens of prompts that are read between two tokens of texts in progress.
    pub prefill: usize,
    /// Most tokens that the texts in progress may grow to together; `None` is enough for `streams` times the context.
    pub cached_tokens: Option<usize>,
    /// Most bytes of a request's body.
    pub body_bytes: usize,
    /// Most connections; further ones wait to be accepted.
    pub connections: usize,
    /// Most time of a request, waiting included.
    pub timeout: Duration,
    /// Most time for a request's header, and then for its body; a connection may be idle for as long.
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub patience: Duration,
    /// How long texts in progress may go on after the server was told to stop.
    pub grace: Duration,
    /// Whether `/tokenizer_info`, `/tokenize` and `/detokenize` are there. Off by default: evaluation clients that find
    /// them use them in place of the tokenizer that they were given.
    pub tokenizer_routes: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            key: None,
            open: false,
            streams: 32,
            queue: 1024,
            max_tokens: None,
            prefill: 256,
            cached_tokens: None,
            body_bytes: 4 << 20,
            connections: 256,
            timeout: Duration::from_mins(10),
            header_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            tokenizer_routes: false,
        }
    }
}

impl ServerOptions {
    /// Fails on values that make no sense, and on a server that would be open to other machines by accident.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("streams", self.streams),
            ("queue", self.queue),
            ("prefill", self.prefill),
            ("body_bytes", self.body_bytes),
            ("connections", self.connections),
            ("max_tokens", self.max_tokens.unwrap_or(1)),
            ("cached_tokens", self.cached_tokens.unwrap_or(1)),
            ("timeout", self.timeout.as_secs_f64().ceil() as usize),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::usage(format!("option `{name}` of the server must be at least 1")));
        }
        if self.key.as_ref().is_some_and(|key| key.trim().is_empty()) {
            return Err(Error::usage("the API key is empty").hint("give one of at least one character, or none"));
        }
        if self.key.is_none() && !self.open && !self.address.ip().is_loopback() {
            let message =
                format!("without an API key, everybody who reaches {} could use the model", self.address.ip());
            return Err(Error::usage(message)
                .hint("give `--api-key KEY` or set PSANN_API_KEY; `--no-key` serves everybody all the same"));
        }
        Ok(())
    }

    pub(super) fn body(&self) -> BodyLimits {
        BodyLimits { bytes: self.body_bytes, time: self.header_timeout }
    }

    pub(super) fn connection(&self) -> ConnectionLimits {
        ConnectionLimits { count: self.connections, header: self.header_timeout, patience: self.patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_a_key_unless_the_user_says_otherwise() {
        let everywhere = ServerOptions { address: SocketAddr::from(([0, 0, 0, 0], 80)), ..ServerOptions::default() };
        let error = everywhere.check().unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"without an API key, everybody who reaches 0.0.0.0 could use the model");
        assert!(error.hint_text().unwrap().contains("--no-key"));
        assert!(ServerOptions { open: true, ..everywhere.clone() }.check().is_ok());
        assert!(ServerOptions { key: Some("k".into()), ..everywhere }.check().is_ok());
        assert!(ServerOptions::default().check().is_ok());
        assert!(ServerOptions { key: Some(" ".into()), ..ServerOptions::default() }.check().is_err());
        let error = ServerOptions { streams: 0, ..ServerOptions::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "option `streams` of the server must be at least 1");
    }
}
