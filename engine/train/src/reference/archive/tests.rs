use std::fs;

use super::*;
use crate::reference::pickle::Writer;

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut zip = ZipWriter::new(&mut bytes);
    for (name, content) in entries {
        zip.add(name, content).unwrap();
    }
    zip.finish().unwrap();
    bytes
}

fn open(bytes: &[u8]) -> Result<(Archive, Document)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pt");
    fs::write(&path, bytes).unwrap();
    Archive::open(&path)
}

fn message(bytes: &[u8]) -> String {
    let message = open(bytes).map(drop).unwrap_err().to_string();
    assert!(message.contains("x.pt`"), "{message}");
    message
}

/// A pickle of `None`.
fn nothing() -> Vec<u8> {
    let mut pickle = Writer::default();
    pickle.value(&serde_json::Value::Null);
    pickle.finish()
}

#[test]
fn parts_of_a_storage_are_read_after_a_check_of_the_whole() {
    let numbers: Vec<u8> = (0..200).collect();
    let mut bytes = archive(&[("m/data.pkl", &nothing()), ("m/data/0", &numbers)]);
    let (mut file, _) = open(&bytes).unwrap();
    let mut buffer = Vec::new();
    file.read("0", 200, 8, 4, &mut buffer).unwrap();
    assert_eq!(buffer, [8, 9, 10, 11]);
    file.read("0", 200, 0, 200, &mut buffer).unwrap();
    assert_eq!(buffer, numbers);
    let too_far = file.read("0", 200, 198, 4, &mut buffer).unwrap_err().to_string();
    assert!(too_far.contains("too few"), "{too_far}");
    assert!(file.read("0", 100, 0, 4, &mut buffer).unwrap_err().to_string().contains("expected 100"));
    assert!(file.read("1", 4, 0, 4, &mut buffer).unwrap_err().to_string().contains("no entry `m/data/1`"));

    let place = bytes.windows(4).position(|window| window == [100, 101, 102, 103]).unwrap();
    assert_eq!((place - 100) % 64, 0, "numbers are aligned");
    bytes[place] ^= 1;
    let (mut file, _) = open(&bytes).unwrap();
    for (start, length) in [(8, 4), (0, 200)] {
        let error = file.read("0", 200, start, length, &mut buffer).unwrap_err().to_string();
        assert!(error.contains("damaged: entry `m/data/0`"), "{error}");
    }
}

#[test]
fn other_archives_and_other_files_are_refused() {
    assert!(message(b"").contains("no file of `torch.save`"));
    assert!(message(b"PK").contains("cut short"));
    assert!(message(b"{\"a\": 1}").contains("no file of `torch.save`"));
    assert!(message(&archive(&[("readme.txt", b"hello")])).contains("no single `data.pkl`"));
    let two = archive(&[("a/data.pkl", &nothing()), ("b/data.pkl", &nothing())]);
    assert!(message(&two).contains("no single `data.pkl`"));
    let same = archive(&[("a/data.pkl", &nothing()), ("a/data.pkl", &nothing())]);
    assert!(message(&same).contains("two entries"));
    let big = archive(&[("a/data.pkl", &nothing()), ("a/byteorder", b"big")]);
    assert!(message(&big).contains("big-endian"));
}

#[test]
fn an_archive_with_64_bit_records_is_read() {
    // As many entries as need the large directory, without the gigabytes.
    let names: Vec<String> = (0..0xffff).map(|index| format!("m/data/{index}")).collect();
    let pickle = nothing();
    let mut entries: Vec<(&str, &[u8])> = vec![("m/data.pkl", &pickle)];
    entries.extend(names.iter().map(|name| (name.as_str(), &b"abcd"[..])));
    let (mut file, _) = open(&archive(&entries)).unwrap();
    let mut buffer = Vec::new();
    file.read("65534", 4, 0, 4, &mut buffer).unwrap();
    assert_eq!(buffer, b"abcd");
}
