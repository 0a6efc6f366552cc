//! Tasks and their documents, from names and files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::{Error, Result};
use psann_eval::harness::{Row, Splits, Task, UserTask, built_in};
use psann_plugins_data::benchmarks::{self, Wanted};

/// Tasks with the rows of the splits that they need.
pub struct Sources {
    tasks: Vec<Source>,
}

/// One task.
pub struct Source {
    /// Its name.
    pub name: String,
    /// The split that is evaluated.
    pub split: String,
    /// Hash of the bytes of that split's files.
    pub digest: String,
    definition: Definition,
    splits: Splits,
}

enum Definition {
    BuiltIn,
    /// The text of a user's file.
    User {
        text: String,
        file: String,
    },
}

impl Definition {
    fn task(&self, name: &str) -> Result<Box<dyn Task>> {
        Ok(match self {
            Self::BuiltIn => built_in(name)?,
            Self::User { text, file } => Box::new(UserTask::parse(text, file)?),
        })
    }
}

impl Sources {
    /// Reads what `tasks` (names, or TOML files) need of `data` for so many examples.
    ///
    /// # Errors
    /// When a task is unknown, or a file is missing or broken.
    pub fn read(tasks: &[String], data: &[PathBuf], shots: Option<usize>) -> Result<Self> {
        if tasks.is_empty() {
            return Err(Error::usage("no task is named").hint("give `--tasks hellaswag,piqa`"));
        }
        if data.is_empty() {
            return Err(Error::usage("the documents of the tasks are not named")
                .hint("give `--data FOLDER`, with one sub-folder per task (`FOLDER/hellaswag/validation.jsonl`)"));
        }
        Ok(Self { tasks: tasks.iter().map(|name| source(name, data, shots)).collect::<Result<_>>()? })
    }

    /// The tasks with their rows, as a suite takes them.
    ///
    /// # Errors
    /// When a task's definition is wrong.
    pub fn tasks(&self) -> Result<Vec<(Box<dyn Task>, Splits)>> {
        self.tasks.iter().map(|source| Ok((source.definition.task(&source.name)?, source.splits.clone()))).collect()
    }

    /// What is known of each task.
    pub fn each(&self) -> &[Source] {
        &self.tasks
    }
}

fn source(named: &str, data: &[PathBuf], shots: Option<usize>) -> Result<Source> {
    let file = Path::new(named);
    let definition = if file.extension().is_some_and(|end| end == "toml") {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::usage(format!("cannot read the task `{named}`")).because(e))?;
        Definition::User { text, file: named.to_owned() }
    } else {
        Definition::BuiltIn
    };
    let task = definition.task(named).map_err(|error| error.within(format!("task `{named}`")))?;
    let settings = task.settings();
    let (mut splits, mut digest) = (Splits::new(), String::new());
    for (index, split) in settings.needed_splits(shots).into_iter().enumerate() {
        let wanted = Wanted {
            set: &settings.name,
            variant: settings.source.name.as_deref(),
            split,
            asked: index == 0,
            expects: &settings.expects(split),
        };
        let found =
            benchmarks::documents(data, &wanted).map_err(|error| error.within(format!("task `{}`", settings.name)))?;
        if index == 0 {
            digest = found.digest;
        }
        let row = |row: benchmarks::Row| {
            let file: Arc<str> = row.file().display().to_string().into();
            Row { file, line: row.line, fields: row.fields }
        };
        splits.insert(split.to_owned(), found.rows.into_iter().map(row).collect());
    }
    let (name, split) = (settings.name.clone(), settings.evaluated_split().to_owned());
    Ok(Source { name, split, digest, definition, splits })
}

/// A hash of the tasks' definitions and of all documents that they need.
///
/// # Errors
/// As [`Sources::read`].
pub fn digest(tasks: &[String], data: &[PathBuf], shots: Option<usize>) -> Result<String> {
    let sources = Sources::read(tasks, data, shots)?;
    let mut hash = String::new();
    for source in &sources.tasks {
        let definition = match &source.definition {
            Definition::BuiltIn => "",
            Definition::User { text, .. } => text,
        };
        let rows: Vec<_> = source
            .splits
            .iter()
            .map(|(split, rows)| (split, rows.iter().map(|row| &row.fields).collect::<Vec<_>>()))
            .collect();
        let value = serde_json::json!({ "task": source.name, "definition": definition, "rows": rows });
        hash.push_str(&psann_core::canonical::hash(&value));
    }
    Ok(hash)
}
