//! A tokenised corpus in memory: all tokens in one array, and where each document starts.

use psann_core::{Error, Result, Tokenizer};

/// All documents as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    tokens: Vec<u32>,
    /// Start of each document, and the end of the last.
    starts: Vec<usize>,
}

/// Part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    start: usize,
    end: usize,
}

impl Corpus {
    /// Joins documents; each should end with the token that ends documents.
    pub fn new<D: AsRef<[u32]>>(documents: impl IntoIterator<Item = D>) -> Self {
        let mut corpus = Self { tokens: Vec::new(), starts: vec![0] };
        for document in documents {
            if !document.as_ref().is_empty() {
                corpus.tokens.extend_from_slice(document.as_ref());
                corpus.starts.push(corpus.tokens.len());
            }
        }
        corpus
    }

    /// Tokens in all.
    pub fn tokens(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// The documents, in order.
    pub fn documents(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|pair| &self.tokens[pair[0]..pair[1]])
    }

    /// All documents in pieces of at most `longest` tokens; a document is cut into pieces of about equal length.
    pub fn pieces(&self, longest: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for pair in self.starts.windows(2) {
            let length = pair[1] - pair[0];
            let count = length.div_ceil(longest.max(1));
            pieces.extend(
                (0..count)
                    .map(|n| Piece { start: pair[0] + length * n / count, end: pair[0] + length * (n + 1) / count }),
            );
        }
        pieces
    }

    /// The tokens of a piece.
    pub fn piece(&self, piece: Piece) -> &[u32] {
        &self.tokens[piece.start..piece.end]
    }
}

/// Tokenises texts on all cores: begin token (where there is one), text, end token.
///
/// # Errors
/// When the tokenizer has no token that ends a document.
pub fn tokenise(tokenizer: &dyn Tokenizer, texts: &[String]) -> Result<Corpus> {
    let special = tokenizer.special();
    let eos = special.eos.ok_or_else(|| {
        Error::new("the tokenizer has no token that ends a document (EOS)")
            .hint("add one to the tokenizer, or name it as `eos_token` in special_tokens_map.json")
    })?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let encoded = tokenizer.encode_batch(&texts)?;
    Ok(Corpus::new(encoded.into_iter().map(|ids| {
        let mut document = Vec::with_capacity(ids.len() + 2);
        document.extend(special.bos);
        document.extend(ids);
        document.push(eos);
        document
    })))
}
