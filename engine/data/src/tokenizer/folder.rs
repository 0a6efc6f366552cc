//! What stands beside `tokenizer.json` in a folder: which tokens are special, and how conversations are written.
//!
//! Python's tools read `tokenizer_config.json`, and chat templates from `chat_template.jinja` before that. Older folders
//! have `special_tokens_map.json`, which we read first, and `chat_template.json`. All of it travels with a tokenizer, so
//! that the folder of a trained model loads there as the original did.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::files::{self, cannot_read};

/// Names the special tokens.
pub const SPECIAL: &str = "special_tokens_map.json";

/// What Python's tools know of a tokenizer.
pub const CONFIG: &str = "tokenizer_config.json";

/// The chat template.
pub const TEMPLATE: &str = "chat_template.jinja";

/// Chat templates as older tools left them.
const TEMPLATE_JSON: &str = "chat_template.json";

/// The folder of further chat templates, each in a file of its name.
const MORE_TEMPLATES: &str = "additional_chat_templates";

/// The key of templates in JSON files.
const TEMPLATE_KEY: &str = "chat_template";

/// The name of the only template, or of the usual one among several.
const DEFAULT: &str = "default";

/// Special tokens that have a meaning of their own: bos, eos, pad, unk.
pub const NAMES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// A length that stands for none: Python's tools write 1e30.
const UNLIMITED: f64 = 1e15;

/// A chat template of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    /// `default`, `tool_use`, …; a tokenizer's only template is its `default`.
    pub name: String,
    /// The template itself.
    pub text: String,
}

/// What stands beside a tokenizer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// The text of `tokenizer_config.json`, as it was read.
    config: Option<String>,
    templates: Vec<NamedTemplate>,
}

impl Beside {
    /// Reads it from `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config =
            path.is_file().then(|| fs::read_to_string(&path).map_err(|e| cannot_read(&path, e))).transpose()?;
        Ok(Self { config, templates: chat_templates(folder)? })
    }

    /// The chat templates, by name.
    pub fn templates(&self) -> &[NamedTemplate] {
        &self.templates
    }

    /// The most tokens that the tokenizer's model reads, if its configuration says so.
    pub fn model_max_length(&self) -> Option<u64> {
        let config: Value = serde_json::from_str(self.config.as_deref()?).ok()?;
        let length = config["model_max_length"].as_f64().filter(|length| (1.0..UNLIMITED).contains(length))?;
        Some(length as u64)
    }

    /// Writes it into `folder`, for a tokenizer whose special tokens are spelled as in `spelling`.
    pub fn write(&self, folder: &Path, spelling: &[Option<String>; 4]) -> Result<()> {
        files::write(&folder.join(CONFIG), self.config_for(spelling).as_bytes())?;
        match self.templates.as_slice() {
            [only] if only.name == DEFAULT => files::write(&folder.join(TEMPLATE), only.text.as_bytes()),
            _ => Ok(()),
        }
    }

    /// The text of the configuration: the one that was read if it says the same, else one that does.
    fn config_for(&self, spelling: &[Option<String>; 4]) -> String {
        let read: Option<Map<String, Value>> = self.config.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let mut config = read.clone().unwrap_or_default();
        config.entry("tokenizer_class").or_insert_with(|| json!("PreTrainedTokenizerFast"));
        config.entry("clean_up_tokenization_spaces").or_insert(json!(false));
        for (name, token) in NAMES.iter().zip(spelling) {
            let written = config.get(*name).and_then(word);
            if written != token.as_deref() {
                // What names a token that is not there, or another one, would have it added by Python's tools.
                match token {
                    Some(token) => config.insert((*name).into(), json!(token)),
                    None => config.shift_remove(*name),
                };
            }
        }
        match self.templates.as_slice() {
            [] => {}
            [only] if only.name == DEFAULT => {
                config.insert(TEMPLATE_KEY.into(), json!(only.text));
            }
            several => {
                let list = several.iter().map(|one| json!({ "name": one.name, "template": one.text }));
                config.insert(TEMPLATE_KEY.into(), list.collect());
            }
        }
        match &self.config {
            Some(text) if read.as_ref() == Some(&config) => text.clone(),
            _ => format!("{:#}\n", Value::Object(config)),
        }
    }
}

/// The chat templates of the tokenizer in `folder`, from the first of these that there is: `chat_template.jinja` (with
/// further ones in `additional_chat_templates`), `tokenizer_config.json`, `chat_template.json`.
///
/// # Errors
/// When a file cannot be read, or holds something else than templates.
pub fn chat_templates(folder: &Path) -> Result<Vec<NamedTemplate>> {
    let mut templates = Vec::new();
    let path = folder.join(TEMPLATE);
    if path.is_file() {
        let text = fs::read_to_string(&path).map_err(|e| cannot_read(&path, e))?;
        templates.push(NamedTemplate { name: DEFAULT.into(), text });
    }
    let more = folder.join(MORE_TEMPLATES);
    if more.is_dir() {
        let entries = fs::read_dir(&more).map_err(|e| cannot_read(&more, e))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "jinja")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(path).map_err(|e| cannot_read(path, e))?;
            templates.push(NamedTemplate { name, text });
        }
    }
    for name in [CONFIG, TEMPLATE_JSON] {
        let path = folder.join(name);
        if templates.is_empty() && path.is_file() {
            templates = templates_in(&read_object(&path)?[TEMPLATE_KEY], &path)?;
        }
    }
    Ok(templates)
}

/// The templates in a JSON file: one text, or a list of `{"name": …, "template": …}`.
fn templates_in(value: &Value, path: &Path) -> Result<Vec<NamedTemplate>> {
    let named = |name: &Value, text: &Value| {
        Some(NamedTemplate { name: name.as_str()?.to_owned(), text: text.as_str()?.to_owned() })
    };
    let templates = match value {
        Value::Null => Some(Vec::new()),
        Value::String(_) => named(&json!(DEFAULT), value).map(|only| vec![only]),
        Value::Array(list) => list.iter().map(|entry| named(&entry["name"], &entry["template"])).collect(),
        _ => None,
    };
    templates.ok_or_else(|| {
        Error::new(format!("`{TEMPLATE_KEY}` in `{}` is no template", path.display()))
            .hint(r#"it is a text, or a list of {"name": "default", "template": "…"}"#)
    })
}

/// How a file names bos, eos, pad and unk: outer `None` where it says nothing of a token, inner where it says that there
/// is none.
pub type Named = [Option<Option<String>>; 4];

/// The special tokens that the file at `path` names: each is a string, or an object with `content` or `token`.
pub fn read_special(path: &Path) -> Result<Named> {
    let map = read_object(path)?;
    Ok(NAMES.map(|name| match map.get(name) {
        None => None,
        Some(Value::Null) => Some(None),
        Some(entry) => word(entry).map(|word| Some(word.to_owned())),
    }))
}

fn word(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry["content"].as_str()).or_else(|| entry["token"].as_str())
}

fn read_object(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|e| cannot_read(path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::new(format!("`{}` is no JSON", path.display())).because(e))
}
