//! Fixtures that are JSON: whole files, or one value a line; plain, gzip or Zstandard.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::set_directory;

/// Opens `file` of `set`, unpacked when its name ends in `.gz` or `.zst`.
pub fn open(set: &str, file: &str) -> Box<dyn BufRead> {
    let path = set_directory(set).join(file);
    let plain = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(BufReader::new(MultiGzDecoder::new(plain))),
        Some("zst") => {
            let unpacked = zstd::Decoder::new(plain).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            Box::new(BufReader::new(unpacked))
        }
        _ => Box::new(BufReader::new(plain)),
    }
}

/// One JSON value a line. A line ends with `\n` and nothing else: texts may hold other characters that end lines elsewhere.
pub fn lines(set: &str, file: &str) -> Vec<Value> {
    let parse = |line: Vec<u8>| serde_json::from_slice(&line).unwrap_or_else(|e| panic!("{set}/{file}: {e}"));
    let lines = open(set, file).split(b'\n').map(|line| line.unwrap_or_else(|e| panic!("{set}/{file}: {e}")));
    lines.filter(|line| !line.is_empty()).map(parse).collect()
}

/// A whole file as one JSON value.
pub fn value(set: &str, file: &str) -> Value {
    let mut text = String::new();
    open(set, file).read_to_string(&mut text).unwrap_or_else(|e| panic!("{set}/{file}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{set}/{file}: {e}"))
}
