//! Checks before anything is trained: hours of training on a tokenizer that loses text, or on one that the model cannot
//! hold, are hours lost.

use psann_core::{Error, Result, Tokenizer};

/// Checks the special tokens, and that each sample survives encoding and decoding (unless `lossy` is accepted).
///
/// Returns the bytes of text per token.
pub fn check_text(tokenizer: &dyn Tokenizer, samples: &[String], lossy: bool) -> Result<f64> {
    if tokenizer.special().eos.is_none() {
        return Err(Error::new("the tokenizer has no token that ends a document (EOS)")
            .hint("add one to the tokenizer, or name it as `eos_token` in special_tokens_map.json"));
    }
    let (mut bytes, mut tokens) = (0, 0);
    let texts: Vec<&str> = samples.iter().map(String::as_str).collect();
    for (text, ids) in texts.iter().zip(tokenizer.encode_batch(&texts)?) {
        if let Some(id) = ids.iter().find(|id| **id as usize >= tokenizer.vocabulary()) {
            return Err(Error::new(format!(
                "the tokenizer gives id {id}, outside of its vocabulary of {}",
                tokenizer.vocabulary()
            )));
        }
        bytes += text.len();
        tokens += ids.len();
        let back = tokenizer.decode(&ids)?;
        if back != *text && !lossy {
            return Err(Error::new(format!("the tokenizer loses text: {}", first_difference(text, &back)))
                .hint("use a byte-level tokenizer, or accept the loss with `lossy: true`"));
        }
    }
    Ok(bytes as f64 / f64::from(u32::try_from(tokens.max(1)).unwrap_or(u32::MAX)))
}

/// Checks that a model with `model` rows holds every token.
pub fn check_vocabulary(tokenizer: usize, model: usize) -> Result<()> {
    if model < tokenizer {
        return Err(Error::usage(format!("the model's `vocab` is {model}, but the tokenizer has {tokenizer} tokens"))
            .hint("give the model the tokenizer itself (`vocab: tok`), or a number at least as large"));
    }
    Ok(())
}

/// `"…ab\ncd…" came back as "…ab cd…"`.
fn first_difference(text: &str, back: &str) -> String {
    let same = text.chars().zip(back.chars()).take_while(|(a, b)| a == b).count();
    let window = |text: &str| text.chars().skip(same.saturating_sub(10)).take(20).collect::<String>();
    format!("{:?} came back as {:?}", window(text), window(back))
}
