//! A scratch folder, the binary in it, and a recipe small enough to train in a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder of its own for one test, and the binary run in it.
pub struct Scratch {
    folder: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Scratch {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With the tiny recipe and its text in place.
    pub fn with_tiny_recipe() -> Self {
        let scratch = Self::new();
        scratch.write("tiny.rhai", TINY);
        scratch.write("prose.jsonl", &prose());
        scratch
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_psann"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        // One thread: tests run beside each other, and OpenMP threads that wait for a core only slow all of them.
        command.env("OMP_NUM_THREADS", "1").env("NO_COLOR", "1").env_remove("CI");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}\n{}\n{}", ended.out, ended.err);
        ended.out
    }

    /// The folder of the run's stage, found by the stage's name.
    pub fn stage(&self, run: &str, stage: &str) -> PathBuf {
        let run = self.path().join("runs").join(run);
        let found: Vec<_> = fs::read_dir(&run)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{stage}-")))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A few hundred sentences of the same few words in changing order: enough for a vocabulary and a falling loss.
pub fn prose() -> String {
    let subjects = ["The sea", "A sailor", "The old captain", "Every whale", "The ship"];
    let verbs = ["saw", "followed", "remembered", "feared", "carried"];
    let objects = ["the wind", "a distant shore", "the white whale", "the morning light", "a long voyage"];
    let mut text = String::new();
    for document in 0..60_usize {
        let sentences: Vec<String> = (0..12)
            .map(|sentence| {
                let pick = document * 7 + sentence * 3;
                format!("{} {} {}.", subjects[pick % 5], verbs[(pick / 5) % 5], objects[(pick * 2 + document) % 5])
            })
            .collect();
        text.push_str(&serde_json::json!({ "id": format!("d{document}"), "text": sentences.join(" ") }).to_string());
        text.push('\n');
    }
    text
}

/// Every stage, in about a second.
pub const TINY: &str = r#"
let name  = param("name", "tiny", "run name");
let steps = param("steps", 12, "optimizer steps");

let text = source::jsonl("prose.jsonl") | filter::normalize();
let tok  = tokenizer::train_bpe(#{ vocab: 300 });
let lm   = model::waveresnet(#{ d_model: 16, n_layers: 2, n_heads: 2, vocab: tok });

pipeline(name)
    .prepare(text, #{ validation: "5%" })
    .pretrain(lm, #{
        steps: steps,
        seq_len: 32,
        batch: 4,
        optimizer: optimizer::adamw(#{ lr: 1e-2 }),
        checkpoint: #{ every: 3, keep: 2 },
        validation: #{ every: 6 },
        seed: 7,
    })
    .evaluate()
    .sample(#{ prompts: ["The sea"], tokens: 8 })
    .save()
"#;
