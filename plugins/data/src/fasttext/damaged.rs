//! What becomes of damaged models: an error that says what is wrong, never a panic or much memory.

use std::path::{Path, PathBuf};

use super::Model;
use super::input::Unusable;

/// The small models of `tests/fasttext`.
fn models() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fasttext");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Reads bytes as a model, and asks it something if it can be read.
fn read(bytes: &[u8]) -> Result<(), Unusable> {
    let model = Model::read(&mut &*bytes, bytes.len() as u64)?;
    model.predict("the unknown naïve 日本 __label__good x", 3);
    Ok(())
}

#[test]
fn a_model_cut_short_anywhere_is_an_error() {
    for (path, bytes) in models() {
        for length in 0..bytes.len() {
            let cause = read(&bytes[..length]).expect_err("a model that was cut short").to_string();
            let wanted = if length < 8 { "no fastText model" } else { "ends in the middle of its" };
            assert!(cause.contains(wanted), "{length} bytes of {}: {cause}", path.display());
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    for (path, bytes) in models() {
        for length in (8..bytes.len()).step_by(7) {
            let claimed = bytes.len() as u64;
            let cause =
                Model::read(&mut &bytes[..length], claimed).expect_err("a model that was cut short").to_string();
            assert!(cause.contains("ends in the middle of its"), "{length} bytes of {}: {cause}", path.display());
        }
    }
}

#[test]
fn wrong_bytes_never_panic_or_ask_for_much_memory() {
    let wrong = [[0x00; 4], [0xff; 4], [0xff, 0xff, 0xff, 0x7f], [0x00, 0x00, 0x00, 0x80], [0x02, 0x00, 0x01, 0x00]];
    for (_, bytes) in models() {
        for at in (0..bytes.len()).filter(|at| *at < 500 || at % 13 == 0) {
            for wrong in wrong {
                let mut bytes = bytes.clone();
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&wrong[..end - at]);
                let _ = read(&bytes);
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let models = models();
    let (_, good) = models.iter().find(|model| model.0.ends_with("tree_parts_and_runs.bin")).unwrap();
    let cause = |at: usize, value: i32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        read(&bytes).unwrap_err().to_string()
    };
    assert_eq!(cause(0, 7), "it is no fastText model (it does not begin with fastText's mark)");
    assert_eq!(cause(4, 13), "its format version is 13; versions 11 and 12 are known");
    assert_eq!(cause(8, -3), "it is damaged: it claims -3 columns");
    assert_eq!(cause(8, 15), "it is damaged: its input matrix is 59 by 16 where 59 by 15 is needed");
    assert_eq!(cause(32, 9), "it is damaged: its loss has the unknown number 9");
    assert_eq!(cause(36, 2), "it holds word vectors, not a classifier with labels");
    assert_eq!(cause(40, 0), "it is damaged: it cuts words into parts but has no rows for them");
    let longer = [good.as_slice(), b"and more"].concat();
    assert_eq!(read(&longer).unwrap_err().to_string(), "8 bytes follow the end of the model");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Model::load(folder.path()).is_err());
    let error = Model::load(&folder.path().join("missing.bin")).unwrap_err();
    assert!(error.message().contains("missing.bin"), "{error}");
    assert!(error.hint_text().is_some());
}
