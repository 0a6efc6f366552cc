//! A process that is killed between two batches loses nothing: whoever takes its last cursor sees what it would have seen.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use psann_core::tokens::{BatchStream, Cursor};
use psann_data::Split;
use psann_data::loader::TrainingText;

use crate::support::{batches, documents, loader, prepare};

/// Names the corpus to the process that is killed.
const TASK: &str = "PSANN_TEST_KILLED";

fn text(folder: &Path) -> TrainingText {
    TrainingText::prepared(folder, Split::Train).in_memory(0)
}

#[test]
fn the_process_that_is_killed() {
    let Ok(folder) = std::env::var(TASK) else { return };
    let folder = Path::new(&folder);
    let mut stream = loader(&text(folder), |_| {});
    loop {
        stream.next_batch().unwrap();
        let cursor = stream.cursor();
        fs::write(folder.join("cursor.tmp"), serde_json::to_vec(&cursor).unwrap()).unwrap();
        fs::rename(folder.join("cursor.tmp"), folder.join("cursor")).unwrap();
        #[expect(clippy::print_stdout, reason = "the parent reads it")]
        {
            println!("batch {}", cursor.batches);
        }
    }
}

#[test]
fn a_killed_stream_goes_on_with_the_same_data() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &documents(150), 40);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed", "--nocapture"])
        .env(TASK, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = lines.map_while(Result::ok).find(|line| line.ends_with("batch 37"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached.is_some());
    let cursor: Cursor = serde_json::from_slice(&fs::read(folder.path().join("cursor")).unwrap()).unwrap();
    assert!(cursor.batches >= 37);
    let mut resumed = loader(&text(folder.path()), |o| o.threads = 1);
    resumed.seek(&cursor).unwrap();
    batches(&mut resumed, 20);
    let mut straight = loader(&text(folder.path()), |_| {});
    batches(&mut straight, cursor.batches as usize + 20);
    assert_eq!(resumed.cursor(), straight.cursor());
}
