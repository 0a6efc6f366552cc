//! Whether a generated text is the answer.

/// What is overlooked when texts are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExactMatch {
    /// Upper and lower case.
    pub ignore_case: bool,
    /// The punctuation of ASCII.
    pub ignore_punctuation: bool,
}

impl ExactMatch {
    /// Whether `text` says the same as `answer`.
    pub fn holds(self, text: &str, answer: &str) -> bool {
        self.plain(text) == self.plain(answer)
    }

    fn plain(self, text: &str) -> String {
        let text = if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        if self.ignore_punctuation { text.replace(|letter: char| letter.is_ascii_punctuation(), "") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_overlooked() {
        let strict = ExactMatch::default();
        let loose = ExactMatch { ignore_case: true, ignore_punctuation: true };
        assert!(strict.holds("Yes.", "Yes.") && !strict.holds("yes.", "Yes.") && !strict.holds("Yes", "Yes."));
        assert!(loose.holds("yes", "Yes.") && !loose.holds(" yes", "Yes."));
    }
}
