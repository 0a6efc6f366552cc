//! Loading a Hugging Face `tokenizer.json`, with what stands beside it.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::{Beside, CONFIG, Named, SPECIAL, read_special};
use super::text::TextTokenizer;
use crate::files::cannot_read;

psann_core::register!(Tokenizer, "load", LoadOptions, primary = "path");

/// Loads a tokenizer in the Hugging Face format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadOptions {
    /// The file `tokenizer.json` or the folder that holds it.
    pub path: Option<String>,
    /// The file that names the special tokens; by default `special_tokens_map.json` beside the tokenizer, if it is there.
    /// What it does not mention comes from `tokenizer_config.json`.
    pub special_tokens_map: Option<String>,
    /// Accept a tokenizer that does not give back the text it encoded.
    pub lossy: bool,
}

/// Spellings to look for where no file names any token: bos, eos, pad, unk.
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
    let (spelling, origin) = spelling(options, &path, &inner)?;
    for word in spelling.iter().flatten() {
        if inner.token_to_id(word).is_none() {
            return Err(Error::new(format!("the special token `{word}` is not in the tokenizer's vocabulary"))
                .hint(format!("correct `{}`", origin.display())));
        }
    }
    let beside = Beside::read(path.parent().unwrap_or(Path::new("")))?;
    Ok(TextTokenizer::new(inner, spelling)?.with_beside(beside))
}

/// How bos, eos, pad and unk are spelled, and the file to correct if that is wrong.
///
/// Each token is what the first file says of it that says anything. Only where no file names any token do the usual
/// spellings count: a tokenizer that names its end of text and no beginning has none.
fn spelling(
    options: &LoadOptions,
    path: &Path,
    inner: &tokenizers::Tokenizer,
) -> Result<([Option<String>; 4], PathBuf)> {
    let beside = |name: &str| Some(path.with_file_name(name)).filter(|file| file.is_file());
    let map = options.special_tokens_map.as_ref().map(PathBuf::from).or_else(|| beside(SPECIAL));
    let files: Vec<PathBuf> = map.into_iter().chain(beside(CONFIG)).collect();
    let mut named = Named::default();
    for file in &files {
        for (known, said) in named.iter_mut().zip(read_special(file)?) {
            *known = known.take().or(said);
        }
    }
    let mut spelling = named.map(Option::flatten);
    if spelling.iter().all(Option::is_none) {
        spelling = SPELLINGS
            .map(|known| known.iter().find(|word| inner.token_to_id(word).is_some()).map(|word| (*word).to_owned()));
    }
    Ok((spelling, files.into_iter().next().unwrap_or_else(|| path.with_file_name(SPECIAL))))
}
