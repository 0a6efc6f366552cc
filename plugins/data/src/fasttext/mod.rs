//! Supervised fastText models, read and asked.
//!
//! The corpora that published recipes describe (CCNet, RefinedWeb, FineWeb, DCLM, Dolma) choose their languages with
//! fastText's `lid.176`, and many choose quality with a fastText model too. To repeat such a recipe one needs the very
//! same numbers, so this is the inference half of fastText 0.9.2 after its file format: dense (`.bin`) and
//! product-quantised (`.ftz`) matrices, hashed subwords, word n-grams, pruned dictionaries, and the four output layers.
//! There is no training here.
//!
//! Such a model is a bag of features. Each word contributes the rows of its subwords, the mean of all rows is the hidden
//! vector (Joulin et al. 2017, <https://arxiv.org/abs/1607.01759>), and the output layer turns that into labels. Nearly
//! all time goes into subwords, and text repeats its words, so `words` keeps the summed rows of words that were seen:
//! that is what makes this ten times as fast as fastText itself (web-like text, whole documents, one thread: 78 against
//! 7.8 MB/s of CPU time with lid.176.ftz; a dense model of 128 MB: 40 against 8.6). It changes the order of a sum, and so
//! probabilities by some 1e-6 at most; all else is computed as fastText does, in its order and in its float type.
//!
//! | file | holds |
//! |---|---|
//! | [`model`] | reading a file, [`Model`], [`Predictor`] |
//! | `input` | bytes to numbers, never more of them than the file has |
//! | `dictionary` | words, labels, and the rows that a word has |
//! | `subwords` | hashing and splitting, byte for byte as fastText |
//! | `matrix` | rows, plain or as codes of a product quantiser |
//! | `words` | summed rows of words that were seen |
//! | `output` | the most likely labels, of a tree or of all |

#[cfg(test)]
mod damaged;
mod dictionary;
mod input;
mod matrix;
pub mod model;
mod output;
mod subwords;
mod words;

pub use model::{Model, Prediction, Predictor};
