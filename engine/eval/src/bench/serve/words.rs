//! [`Words`]: a tokenizer without a vocabulary file. Each id is written as its number, behind a space.

use std::ops::Range;

use psann_core::tokenizer::SpecialTokens;
use psann_core::{Error, Result, Tokenizer};

/// The ids below a vocabulary's size, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Number of ids.
    pub vocabulary: u32,
}

impl Words {
    /// Each number of `text`, with the characters that it and the space before it take.
    fn numbers(self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let (mut found, mut start) = (Vec::new(), 0);
        for word in text.split_inclusive(' ') {
            let end = start + word.trim_end_matches(' ').len();
            if end > start {
                let number = word.trim_end_matches(' ');
                let id = number.parse().ok().filter(|id| *id < self.vocabulary);
                let id = id.ok_or_else(|| Error::new(format!("`{number}` is no id below {}", self.vocabulary)))?;
                found.push((id, start.saturating_sub(1)..end));
            }
            // Numbers and spaces are ASCII: a character is a byte.
            start += word.len();
        }
        Ok(found)
    }
}

impl Tokenizer for Words {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.numbers(text)?.into_iter().map(|(id, _)| id).collect())
    }

    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    fn encode_markup(&self, text: &str, _: bool) -> Result<Vec<u32>> {
        self.encode(text)
    }

    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        self.numbers(text)
    }

    fn spelling(&self, id: u32) -> Option<String> {
        (id < self.vocabulary).then(|| format!(" {id}"))
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(ids.iter().map(|id| format!(" {id}")).collect())
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary as usize
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens::default()
    }

    fn identity(&self) -> String {
        format!("the numbers below {}", self.vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_numbers_and_read_back() {
        let words = Words { vocabulary: 100 };
        let text = words.decode(&[7, 42, 0]).unwrap();
        assert_eq!(text, " 7 42 0");
        assert_eq!(words.encode(&text).unwrap(), [7, 42, 0]);
        assert_eq!(words.encode_spans(&text).unwrap(), [(7, 0..2), (42, 2..5), (0, 5..7)]);
        assert!(words.encode("100").is_err() && words.encode("seven").is_err());
    }
}
