//! Tokenizers inside of the reference's files, as the files that ours are made of, and back.
//!
//! | backend in the file | becomes |
//! |---|---|
//! | `simple`: characters in order | a `tokenizer.json` that gives each character the same id |
//! | `tokenizers` with its own ids | the same `tokenizer.json` |
//! | `tokenizers` with ids moved by 4, `sentencepiece` | nothing: no file of ours can say the same; a note says so |

use psann_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::pickle::{Document, Value as Pickled};

/// A tokenizer as files beside a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub json: String,
    /// `special_tokens_map.json`.
    pub special: String,
}

/// The four special tokens: as the reference calls them, as the map of special tokens does, as we spell them.
const SPECIAL: [(&str, &str, &str); 4] = [
    ("pad", "pad_token", "[PAD]"),
    ("bos", "bos_token", "[BOS]"),
    ("eos", "eos_token", "[EOS]"),
    ("unk", "unk_token", "[UNK]"),
];

/// Reads the tokenizer `value`; what cannot be kept goes to `notes`.
pub fn read(document: &Document, value: Option<&Pickled>, notes: &mut Vec<String>) -> Result<Option<TokenizerFiles>> {
    let value = match value {
        None | Some(Pickled::None) => return Ok(None),
        Some(value) => value,
    };
    let text = |key: &str| document.get(value, key).and_then(Pickled::text);
    match text("backend") {
        Some("simple") => {
            let vocabulary = document.get(value, "vocabulary").ok_or_else(|| incomplete("vocabulary"))?;
            simple(&document.json(vocabulary, "tokenizer.vocabulary")?).map(Some)
        }
        Some("tokenizers") => {
            if !matches!(document.get(value, "passthrough_ids"), Some(Pickled::Bool(true))) {
                notes.push(
                    "its tokenizer moves every id by 4, which no `tokenizer.json` can say; it was left out".into(),
                );
                return Ok(None);
            }
            let json = text("model").ok_or_else(|| incomplete("model"))?;
            let ids = document.get(value, "special_ids").ok_or_else(|| incomplete("special_ids"))?;
            from_json(json, &document.json(ids, "tokenizer.special_ids")?).map(Some)
        }
        backend => {
            let backend = backend.unwrap_or("unknown");
            notes.push(format!("its tokenizer is of the kind `{backend}`, which is not supported; it was left out"));
            Ok(None)
        }
    }
}

fn incomplete(key: &str) -> Error {
    Error::new(format!("its tokenizer has no `{key}`"))
}

/// A tokenizer whose tokens are characters, from id 4 on.
fn simple(vocabulary: &Value) -> Result<TokenizerFiles> {
    let mut ids = Map::new();
    for (id, (.., word)) in SPECIAL.iter().enumerate() {
        ids.insert((*word).into(), id.into());
    }
    let characters = vocabulary.as_array().ok_or_else(|| incomplete("vocabulary"))?;
    for (id, character) in characters.iter().enumerate() {
        let single = character.as_str().filter(|text| text.chars().count() == 1);
        let single = single.ok_or_else(|| Error::new(format!("its tokenizer has {character} for a character")))?;
        if ids.insert(single.into(), (id + SPECIAL.len()).into()).is_some() {
            return Err(Error::new(format!("its tokenizer has {character} twice")));
        }
    }
    let added = |(id, (.., word)): (usize, &(&str, &str, &str))| {
        json!({
            "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        // Merges none: every character stays one token.
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "[UNK]", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids, "merges": [],
        },
    });
    let special: Map<String, Value> = SPECIAL.iter().map(|(_, key, word)| ((*key).to_owned(), json!(word))).collect();
    Ok(TokenizerFiles { json: format!("{tokenizer:#}\n"), special: format!("{:#}\n", Value::Object(special)) })
}

/// A tokenizer in the Hugging Face format with the ids of its special tokens.
fn from_json(text: &str, ids: &Value) -> Result<TokenizerFiles> {
    let tokenizer: Value = serde_json::from_str(text).map_err(|e| Error::new("its tokenizer is no JSON").because(e))?;
    let mut special = Map::new();
    for (name, key, _) in SPECIAL {
        // An id that belongs to no token is one of the reference's defaults.
        if let Some(word) = ids[name].as_u64().and_then(|id| word(&tokenizer, id)) {
            special.insert(key.into(), word.into());
        }
    }
    Ok(TokenizerFiles { json: text.to_owned(), special: format!("{:#}\n", Value::Object(special)) })
}

/// What the token of `id` is written as.
fn word(tokenizer: &Value, id: u64) -> Option<&str> {
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let added = added.filter(|token| token["id"] == id).find_map(|token| token["content"].as_str());
    let vocabulary =
        || tokenizer["model"]["vocab"].as_object()?.iter().find(|(_, of)| **of == id).map(|(word, _)| word.as_str());
    added.or_else(vocabulary)
}

/// The mapping in which the reference stores a tokenizer.
///
/// # Errors
/// When the files are not JSON, or no token ends a document: the reference needs an id for it.
pub fn to_reference(files: &TokenizerFiles) -> Result<Value> {
    let parse = |text: &str, what: &str| -> Result<Value> {
        serde_json::from_str(text).map_err(|e| Error::new(format!("the {what} is no JSON")).because(e))
    };
    let (tokenizer, special) = (parse(&files.json, "tokenizer")?, parse(&files.special, "map of special tokens")?);
    let id = |key: &str| -> Option<u64> {
        let entry = &special[key];
        let word = entry.as_str().or_else(|| entry["content"].as_str()).or_else(|| entry["token"].as_str())?;
        let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
        let added = added.filter(|token| token["content"] == word).find_map(|token| token["id"].as_u64());
        added.or_else(|| tokenizer["model"]["vocab"][word].as_u64())
    };
    let end = id("eos_token").ok_or_else(|| {
        Error::usage("the tokenizer names no token that ends a document, and the reference cannot do without")
            .hint("name it as `eos_token` in special_tokens_map.json")
    })?;
    let ids: Map<String, Value> =
        SPECIAL.iter().map(|(name, key, _)| ((*name).to_owned(), id(key).unwrap_or(end).into())).collect();
    Ok(json!({ "backend": "tokenizers", "model": files.json, "passthrough_ids": true, "special_ids": ids }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_get_the_ids_of_their_places_after_the_special_tokens() {
        let files = simple(&json!(["t", "ä", " "])).unwrap();
        let tokenizer: Value = serde_json::from_str(&files.json).unwrap();
        assert_eq!(tokenizer["model"]["vocab"]["ä"], 5);
        assert_eq!(tokenizer["model"]["vocab"]["[UNK]"], 3);
        assert!(simple(&json!(["t", "t"])).unwrap_err().to_string().contains("twice"));
        assert!(simple(&json!(["th"])).is_err());
    }

    #[test]
    fn a_tokenizer_of_ours_comes_back_from_the_reference_with_its_special_tokens() {
        let files = simple(&json!(["a", "b"])).unwrap();
        let stored = to_reference(&files).unwrap();
        assert_eq!(stored["special_ids"], json!({ "pad": 0, "bos": 1, "eos": 2, "unk": 3 }));
        let back = from_json(stored["model"].as_str().unwrap(), &stored["special_ids"]).unwrap();
        assert_eq!(back, files);
        let without = TokenizerFiles { special: "{}".into(), ..files };
        assert!(to_reference(&without).unwrap_err().to_string().contains("ends a document"));
    }
}
