//! Folders of Hugging Face: `config.json`, weights in safetensors, tokenizer files. Those of Llama models are used as they
//! are, imported, and written so that transformers loads them.
//!
//! Weights keep their names and go from file to file a few megabytes at a time.
//!
//! | module | what |
//! |---|---|
//! | `config` | `config.json` as options of `model/llama`, and back |
//! | `read` | a folder as a model whose weights are still in their files |
//! | `import` | a folder as a saved model of ours |
//! | `write` | a model as a folder |

mod config;
mod import;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

pub use import::import;
pub use read::{find, is_folder};
pub use write::{TokenizerFolder, export};

/// Files beside the weights that say how text becomes ids and how a model is talked to.
const BESIDE: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// Those of the tokenizer's files in `folder` that are there.
pub fn tokenizer_files(folder: &Path) -> Vec<PathBuf> {
    BESIDE.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}
