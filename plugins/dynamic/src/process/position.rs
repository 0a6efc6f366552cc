//! Where a reader stands in what a program writes.

use psann_core::source::ResumeToken;
use psann_core::{Error, Result};

use super::manifest::Resume;

/// A place in what a program writes: so many documents behind its start, or behind a place that the program named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// What the program called the place; empty at the start.
    pub token: String,
    /// Documents behind it.
    pub documents: u64,
}

impl Position {
    /// The place that a token of [`Self::token`] stands for.
    ///
    /// # Errors
    /// When it stands for none.
    pub fn read(token: &ResumeToken, resume: Resume) -> Result<Self> {
        let (documents, token_of_program) = match resume {
            Resume::Count => (token.0.as_str(), ""),
            Resume::Token => token.0.split_once(':').unwrap_or(("", "")),
        };
        let documents = documents.parse().map_err(|_| {
            Error::new(format!("`{}` is no place in its documents", token.0))
                .hint("the manifest's `resume` changed since the run began; start over with `--fresh`")
        })?;
        Ok(Self { token: token_of_program.to_owned(), documents })
    }

    /// The place as a token.
    pub fn token(&self, resume: Resume) -> ResumeToken {
        ResumeToken(match resume {
            Resume::Count => self.documents.to_string(),
            Resume::Token => format!("{}:{}", self.documents, self.token),
        })
    }

    /// One document further, behind which the program may have named the place.
    pub fn advance(&mut self, token: Option<String>) {
        match token {
            Some(token) => *self = Self { token, documents: 0 },
            None => self.documents += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_as_tokens() {
        let mut place = Position::default();
        place.advance(None);
        assert_eq!(place.token(Resume::Count).0, "1");
        assert_eq!(Position::read(&place.token(Resume::Count), Resume::Count).unwrap(), place);
        place.advance(Some("page:7".into()));
        place.advance(None);
        place.advance(None);
        assert_eq!(place.token(Resume::Token).0, "2:page:7");
        assert_eq!(Position::read(&place.token(Resume::Token), Resume::Token).unwrap(), place);
        let error = Position::read(&ResumeToken("7".into()), Resume::Token).unwrap_err();
        assert!(error.message().contains("`7` is no place"), "{error}");
    }
}
