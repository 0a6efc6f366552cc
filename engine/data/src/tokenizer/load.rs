//! Loading a Hugging Face `tokenizer.json`, with its `special_tokens_map.json` or `tokenizer_config.json` where there is
//! one.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::TextTokenizer;
use crate::files::cannot_read;

psann_core::register!(Tokenizer, "load", LoadOptions, primary = "path");

/// Loads a tokenizer in the Hugging Face format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadOptions {
    /// The file `tokenizer.json` or the folder that holds it.
    pub path: Option<String>,
    /// The file that names the special tokens; by default `special_tokens_map.json` or `tokenizer_config.json` beside the
    /// tokenizer, if one is there.
    pub special_tokens_map: Option<String>,
    /// Accept a tokenizer that does not give back the text it encoded.
    pub lossy: bool,
}

/// Name of the file beside `tokenizer.json`.
pub const SPECIAL: &str = "special_tokens_map.json";

/// Name of the file that says more of the tokenizer, in folders of Hugging Face.
const CONFIG: &str = "tokenizer_config.json";

/// Spellings to look for where no file names them: bos, eos, pad, unk.
const SPELLINGS: [&[&str]; 4] = [
    &["<|bos|>", "<|startoftext|>", "[BOS]", "<s>", "<BOS>", "<bos>"],
    &["<|eos|>", "<|endoftext|>", "[EOS]", "</s>", "<EOS>", "<eos>"],
    &["<|pad|>", "[PAD]", "<pad>", "<PAD>"],
    &["<|unk|>", "[UNK]", "<unk>", "<UNK>"],
];

/// Loads it.
pub fn load(options: &LoadOptions) -> Result<TextTokenizer> {
    let path = options.path.as_deref().ok_or_else(|| {
        Error::usage("no tokenizer file is named").hint("give `path`: a `tokenizer.json` or the folder that holds it")
    })?;
    let path = if Path::new(path).is_dir() { Path::new(path).join(super::FILE) } else { PathBuf::from(path) };
    let bytes = fs::read(&path)
        .map_err(|e| cannot_read(&path, e).hint("`path` takes a `tokenizer.json` or the folder that holds it"))?;
    let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| {
        Error::new(format!("`{}` is no tokenizer in the Hugging Face format", path.display())).because(e)
    })?;
    let map = match &options.special_tokens_map {
        Some(map) => Some(PathBuf::from(map)),
        None => [SPECIAL, CONFIG].iter().map(|name| path.with_file_name(name)).find(|map| map.is_file()),
    };
    let named = map.map(|map| read_map(&map)).transpose()?.unwrap_or_default();
    let spelling: Vec<Option<String>> = named
        .into_iter()
        .zip(SPELLINGS)
        .map(|(named, known)| {
            named.or_else(|| known.iter().find(|word| inner.token_to_id(word).is_some()).map(|word| (*word).to_owned()))
        })
        .collect();
    let spelling = <[Option<String>; 4]>::try_from(spelling).unwrap_or_default();
    TextTokenizer::new(inner, spelling)
}

/// The named tokens: each is a string, or an object with `content` or `token`.
fn read_map(path: &Path) -> Result<[Option<String>; 4]> {
    let text = fs::read_to_string(path).map_err(|e| cannot_read(path, e))?;
    let map: Value =
        serde_json::from_str(&text).map_err(|e| Error::new(format!("`{}` is no JSON", path.display())).because(e))?;
    let word = |name: &str| {
        let entry = &map[name];
        let word = entry.as_str().or_else(|| entry["content"].as_str()).or_else(|| entry["token"].as_str());
        word.map(str::to_owned)
    };
    Ok([word("bos_token"), word("eos_token"), word("pad_token"), word("unk_token")])
}
