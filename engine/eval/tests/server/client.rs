//! A client that knows just enough HTTP, so that tests say exactly what goes over the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The message of an error in the interface's shape.
    pub fn message(&self) -> String {
        let error = self.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "{self:?}");
        }
        error["message"].as_str().unwrap().to_owned()
    }

    /// The events of a stream, without `[DONE]`, which must be the last one.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> = self.body.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{self:?}");
        let data = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        events.into_iter().map(data).collect()
    }
}

/// A connection that nothing was asked on. No test waits longer than a minute for anything.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

pub fn head(method: &str, path: &str, length: usize, more: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    if method == "POST" {
        head.push_str(&format!("content-length: {length}\r\n"));
        if !more.iter().any(|(name, _)| *name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
    }
    for (name, value) in more {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// Asks and reads the whole answer.
pub fn ask(address: SocketAddr, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(head(method, path, body.len(), more).as_bytes()).unwrap();
    // A server that refuses a body may stop reading it.
    let _ = stream.write_all(body.as_bytes());
    answer(&mut stream)
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], "")
}

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    ask(address, "POST", path, &[], &body.to_string())
}

/// Sends a request whose answer is to be read piece by piece, and reads the status.
pub fn open(address: SocketAddr, path: &str, body: &Value) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    let body = body.to_string();
    stream.write_all((head("POST", path, body.len(), &[]) + &body).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let (status, _) = read_head(&mut reader);
    assert_eq!(status, 200);
    reader
}

/// Reads the whole answer to what was sent on `stream`.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader);
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { chunks(&mut reader) } else { rest(&mut reader, &headers) };
    Answer { status, headers, body }
}

fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).unwrap_or_else(|| panic!("no status in `{first}`")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let line = line();
        let Some((name, value)) = line.split_once(':') else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn rest(reader: &mut impl Read, headers: &[(String, String)]) -> String {
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
    let mut body = Vec::new();
    reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// A body in chunks, as far as it comes: a server that breaks off has said what it said.
fn chunks(reader: &mut impl BufRead) -> String {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        let read = reader.read_line(&mut size);
        let size = read.ok().and_then(|_| usize::from_str_radix(size.trim(), 16).ok()).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        if size == 0 || reader.read_exact(&mut chunk).is_err() {
            return String::from_utf8(body).unwrap();
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
