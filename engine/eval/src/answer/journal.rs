//! What was answered so far, on disk: an evaluation that is stopped or killed goes on where it was.
//!
//! A journal is a folder. Each process appends to a file of its own and reads those of all others, so the number of
//! processes may change in between. A line says what was asked (by the hash of its tokens) and what the network answered;
//! the folder is named after the network, so an answer is true for good: other tasks, limits and batches find it too.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde_json::{Value, json};

use crate::harness::Answer;

/// Answers of one network.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    answers: BTreeMap<String, Answer>,
    /// `None` where nothing is kept.
    file: Option<BufWriter<File>>,
}

impl Journal {
    /// A journal that nobody reads: for weights that will be other ones in the next step.
    pub fn in_memory() -> Self {
        Self { path: PathBuf::new(), answers: BTreeMap::new(), file: None }
    }

    /// Opens the journal of `network` below `folder`, for process `rank`. A line that was cut off by a kill is left out.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: &Path, network: &str, rank: usize) -> Result<Self> {
        let folder = folder.join(network);
        let cannot = |e: std::io::Error| Error::new(format!("cannot write `{}`", folder.display())).because(e);
        fs::create_dir_all(&folder).map_err(cannot)?;
        let path = folder.join(format!("answers-{rank}.jsonl"));
        let mut answers = BTreeMap::new();
        for file in files(&folder)? {
            read(&file, &mut answers)?;
        }
        mend(&path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(cannot)?;
        Ok(Self { path: folder, answers, file: Some(BufWriter::new(file)) })
    }

    /// Where the files are; empty where nothing is kept.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The answer to a request, by its digest.
    pub fn get(&self, digest: &str) -> Option<&Answer> {
        self.answers.get(digest)
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Writes an answer down; on disk after [`Journal::flush`].
    pub fn add(&mut self, digest: &str, answer: Answer) -> Result<()> {
        let cannot = |e: std::io::Error| Error::new(format!("cannot write `{}`", self.path.display())).because(e);
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", line(digest, &answer)).map_err(cannot)?;
        }
        self.answers.insert(digest.to_owned(), answer);
        Ok(())
    }

    /// Hands what was written to the operating system: a killed process loses nothing of it.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        flushed.map_err(|e| Error::new(format!("cannot write `{}`", self.path.display())).because(e))
    }

    /// All answers as lines, for [`Journal::absorb`].
    pub fn lines(&self) -> String {
        self.answers.iter().map(|(digest, answer)| format!("{}\n", line(digest, answer))).collect()
    }

    /// Takes the answers of another process.
    ///
    /// # Errors
    /// When a line is no answer.
    pub fn absorb(&mut self, lines: &[u8]) -> Result<()> {
        for text in lines.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let (digest, answer) = parse(text).ok_or_else(|| Error::new("another rank sent what is no answer"))?;
            self.answers.insert(digest, answer);
        }
        Ok(())
    }

    /// Reads what other processes have written since.
    pub fn refresh(&mut self) -> Result<()> {
        for file in files(&self.path)? {
            read(&file, &mut self.answers)?;
        }
        Ok(())
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e: std::io::Error| Error::new(format!("cannot list `{}`", folder.display())).because(e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        files.push(entry.map_err(cannot)?.path());
    }
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    Ok(files)
}

/// A file's whole lines. The last one may be half written; a broken one elsewhere is damage.
fn read(path: &Path, answers: &mut BTreeMap<String, Answer>) -> Result<()> {
    let cannot = |e: std::io::Error| Error::new(format!("cannot read `{}`", path.display())).because(e);
    let mut reader = BufReader::new(File::open(path).map_err(cannot)?);
    let (mut text, mut number) = (Vec::new(), 0);
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(cannot)? == 0 || text.last() != Some(&b'\n') {
            return Ok(());
        }
        number += 1;
        let (digest, answer) = parse(&text).ok_or_else(|| {
            Error::new(format!("line {number} of `{}` is no answer", path.display()))
                .hint("the file is damaged; delete it to ask those questions again")
        })?;
        answers.insert(digest, answer);
    }
}

/// Cuts off a line without an end, so that what is appended begins a new one.
fn mend(path: &Path) -> Result<()> {
    let Ok(bytes) = fs::read(path) else { return Ok(()) };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole == bytes.len() {
        return Ok(());
    }
    let cut = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole as u64));
    cut.map_err(|e| Error::new(format!("cannot write `{}`", path.display())).because(e))
}

fn line(digest: &str, answer: &Answer) -> Value {
    match answer {
        Answer::Score { log_likelihood, is_greedy } => {
            json!({ "request": digest, "log_likelihood": log_likelihood, "is_greedy": is_greedy })
        }
        Answer::Rolling { log_likelihood } => json!({ "request": digest, "log_likelihood": log_likelihood }),
        Answer::Generated { text } => json!({ "request": digest, "text": text }),
    }
}

fn parse(text: &[u8]) -> Option<(String, Answer)> {
    let line: Value = serde_json::from_slice(text).ok()?;
    let log_likelihood = || line["log_likelihood"].as_f64();
    let answer = match (&line["is_greedy"], &line["text"]) {
        (Value::Bool(is_greedy), _) => Answer::Score { log_likelihood: log_likelihood()?, is_greedy: *is_greedy },
        (_, Value::String(text)) => Answer::Generated { text: text.clone() },
        _ => Answer::Rolling { log_likelihood: log_likelihood()? },
    };
    Some((line["request"].as_str()?.to_owned(), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        vec![
            Answer::Score { log_likelihood: -12.3 - f64::EPSILON * 16.0, is_greedy: true },
            Answer::Rolling { log_likelihood: -1e-17 },
            Answer::Generated { text: "a\n\"b\u{2028}".into() },
        ]
    }

    #[test]
    fn answers_come_back_to_the_bit_and_from_every_process() {
        let folder = tempfile::tempdir().unwrap();
        for (rank, answer) in answers().into_iter().enumerate() {
            let mut journal = Journal::open(folder.path(), "net", rank).unwrap();
            journal.add(&format!("r{rank}"), answer).unwrap();
            journal.flush().unwrap();
        }
        let journal = Journal::open(folder.path(), "net", 7).unwrap();
        for (rank, answer) in answers().iter().enumerate() {
            assert_eq!(journal.get(&format!("r{rank}")), Some(answer));
        }
        assert!(Journal::open(folder.path(), "other", 0).unwrap().is_empty());
    }

    #[test]
    fn answers_travel_between_processes() {
        let (mut first, mut second) = (Journal::in_memory(), Journal::in_memory());
        for (index, answer) in answers().into_iter().enumerate() {
            first.add(&index.to_string(), answer).unwrap();
        }
        second.absorb(first.lines().as_bytes()).unwrap();
        assert_eq!(second.lines(), first.lines());
        assert!(second.absorb(b"no answer\n").is_err());
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_asked_again_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), "net", 0).unwrap();
        for (index, answer) in answers().into_iter().enumerate() {
            journal.add(&format!("r{index}"), answer).unwrap();
        }
        drop(journal);
        let path = folder.path().join("net/answers-0.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text.as_bytes()[..text.len() - 5]).unwrap();
        let mut journal = Journal::open(folder.path(), "net", 0).unwrap();
        assert_eq!(journal.len(), 2);
        journal.add("r2", Answer::Rolling { log_likelihood: -2.0 }).unwrap();
        drop(journal);
        assert_eq!(Journal::open(folder.path(), "net", 0).unwrap().len(), 3);
        fs::write(&path, text.replace("true", "tru")).unwrap();
        let error = Journal::open(folder.path(), "net", 0).unwrap_err().to_string();
        assert!(error.starts_with("line 1 of `") && error.ends_with("` is no answer"), "{error}");
    }
}
