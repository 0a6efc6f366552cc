//! Fixtures that are JSON: whole files, or one value a line, plain or gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::set_directory;

/// Opens `file` of `set`, unpacked when its name ends in `.gz`.
pub fn open(set: &str, file: &str) -> Box<dyn BufRead> {
    let path = set_directory(set).join(file);
    let plain = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension() == Some(Path::new("gz").as_os_str()) {
        Box::new(BufReader::new(MultiGzDecoder::new(plain)))
    } else {
        Box::new(BufReader::new(plain))
    }
}

/// One JSON value a line.
pub fn lines(set: &str, file: &str) -> Vec<Value> {
    let parse = |line: String| serde_json::from_str(&line).unwrap_or_else(|e| panic!("{set}/{file}: {e}"));
    open(set, file).lines().map(|line| parse(line.unwrap_or_else(|e| panic!("{set}/{file}: {e}")))).collect()
}

/// A whole file as one JSON value.
pub fn value(set: &str, file: &str) -> Value {
    let mut text = String::new();
    open(set, file).read_to_string(&mut text).unwrap_or_else(|e| panic!("{set}/{file}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{set}/{file}: {e}"))
}
