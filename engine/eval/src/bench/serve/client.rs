//! [`stream`]: one streamed completion over a socket of its own, timed as its reader sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use psann_core::{Error, Result};
use serde_json::{Value, json};

/// How a completion went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timed {
    /// Seconds from before the connection was there to the first token.
    pub first: f64,
    /// Seconds to the last one.
    pub last: f64,
}

/// Asks for `tokens` greedy tokens behind `prompt` and reads them as they come.
///
/// # Errors
/// When the server does not answer as it should, with as many tokens.
pub fn stream(address: SocketAddr, prompt: &[u32], tokens: usize) -> Result<Timed> {
    let body = json!({
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let request = request(&body.to_string());
    let broken = |e: std::io::Error| Error::new("the connection to the benched server broke").because(e);
    let started = Instant::now();
    let mut socket = TcpStream::connect(address).map_err(broken)?;
    socket.write_all(request.as_bytes()).map_err(broken)?;
    let mut reader = BufReader::new(socket);
    let (mut line, mut before, mut times) = (String::new(), String::new(), Vec::with_capacity(tokens + 2));
    reader.read_line(&mut line).map_err(broken)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(Error::new(format!("the benched server answered `{}`", line.trim_end())));
    }
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(broken)? == 0 {
            return Err(Error::new("the benched server ended an answer half-way"));
        }
        // Chunks of the transfer end with events, so an event is a line here too.
        let Some(event) = line.strip_prefix("data: ") else { continue };
        if event.trim_end() == "[DONE]" {
            break;
        }
        times.push(started.elapsed().as_secs_f64());
        std::mem::swap(&mut line, &mut before);
    }
    // The last event counts, those before it bring text.
    times.pop();
    let usage: Option<Value> = before.strip_prefix("data: ").and_then(|event| serde_json::from_str(event).ok());
    let came = usage.and_then(|usage| usage["usage"]["completion_tokens"].as_u64());
    match (came, times.first(), times.last()) {
        (Some(came), Some(first), Some(last)) if came == tokens as u64 => Ok(Timed { first: *first, last: *last }),
        _ => Err(Error::new(format!("the benched server's stream ended with `{}`", before.trim_end()))),
    }
}

fn request(body: &str) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
