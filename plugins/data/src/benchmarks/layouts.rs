//! What the columns of each public benchmark mean.

use std::collections::HashSet;

use psann_core::Result;

use super::{Item, Row};

/// How the rows of a set are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Articles as paragraphs with ` = Title = ` lines between them.
    Wikitext,
    /// Passages whose last word is asked.
    Lambada,
    /// Contexts with four endings.
    Hellaswag,
    /// Goals with two solutions.
    Piqa,
    /// Sentences with a gap and two options.
    Winogrande,
    /// A user's questions, answers, passages and texts.
    Other,
}

/// The fields of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An article of WikiText.
    Article {
        /// Its title, empty for text before the first one.
        title: String,
        /// Its paragraphs and inner headings, as published.
        paragraphs: Vec<String>,
    },
    /// A passage of LAMBADA; the answer is its last word.
    Passage {
        /// The whole passage.
        text: String,
    },
    /// An item of HellaSwag.
    Endings {
        /// What it is about ("Planting a tree").
        activity: String,
        /// The first half of the context.
        context_a: String,
        /// The second half, often a single word; may be empty.
        context_b: String,
        /// Both halves.
        context: String,
        /// The endings to choose from.
        endings: Vec<String>,
        /// Which of them is right, where the file tells.
        gold: Option<usize>,
    },
    /// An item of PIQA.
    Solutions {
        /// What is to be done.
        goal: String,
        /// Two ways to do it.
        solutions: Vec<String>,
        /// Which of them is right, where the file tells.
        gold: Option<usize>,
    },
    /// An item of Winogrande.
    Gap {
        /// The sentence, with `_` for the gap.
        sentence: String,
        /// What may stand there.
        options: Vec<String>,
        /// Which of them is right, where the file tells.
        gold: Option<usize>,
    },
    /// A row of a user's file; what it does not have is empty.
    Question {
        /// What is asked.
        question: String,
        /// The answer or answers.
        answers: Vec<String>,
        /// What the question is about.
        passage: String,
        /// Text that stands for itself.
        text: String,
    },
}

impl Layout {
    /// The layout and name of a public set by the name of its folder or file; `None` when it is a user's.
    pub fn of(name: &str) -> Option<(Self, &'static str)> {
        let name = name.to_lowercase().replace('-', "_");
        let named = |known: &str| name == known || name.starts_with(&format!("{known}_"));
        if named("wikitext") || named("wikitext2") || named("wikitext103") {
            Some((Self::Wikitext, "wikitext"))
        } else if named("lambada_openai") {
            Some((Self::Lambada, "lambada_openai"))
        } else if named("lambada") {
            Some((Self::Lambada, "lambada"))
        } else if named("hellaswag") {
            Some((Self::Hellaswag, "hellaswag"))
        } else if named("piqa") {
            Some((Self::Piqa, "piqa"))
        } else if named("winogrande") {
            Some((Self::Winogrande, "winogrande"))
        } else {
            None
        }
    }

    /// The splits that are read; the first is the one evaluation asks. None where a file is no split.
    pub fn splits(self) -> &'static [&'static str] {
        match self {
            Self::Wikitext => &["test", "validation"],
            Self::Lambada => &["test"],
            Self::Hellaswag | Self::Piqa | Self::Winogrande => &["validation"],
            Self::Other => &[],
        }
    }

    /// What a file must hold, for error messages.
    pub fn expects(self) -> &'static str {
        match self {
            Self::Wikitext => {
                "wikitext: split `test` (and `validation`), column `page` with an article each or `text` with ` = Title = ` lines, or `wiki.test.raw`"
            }
            Self::Lambada => "lambada: split `test`, column `text`",
            Self::Hellaswag => {
                "hellaswag: split `validation`, columns `ctx` (`ctx_a`, `ctx_b`, `activity_label`), `endings`, `label`"
            }
            Self::Piqa => "piqa: split `validation`, columns `goal`, `sol1`, `sol2`",
            Self::Winogrande => {
                "winogrande: split `validation` (`dev`), columns `sentence`, `option1`, `option2`, `answer`"
            }
            Self::Other => "one or more of the columns `question`, `answer`, `passage`, `text`",
        }
    }

    /// The items of `rows`, their ids beginning with `prefix`.
    ///
    /// # Errors
    /// Names the file and line of a row that lacks a field.
    pub fn items(self, prefix: &str, rows: &[Row]) -> Result<Vec<Item>> {
        if self == Self::Wikitext {
            return articles(prefix, rows);
        }
        let mut items = Vec::with_capacity(rows.len());
        let mut taken = HashSet::new();
        for (index, row) in rows.iter().enumerate() {
            let own = match self {
                Self::Winogrande => row.fields.get("qID").and_then(|id| id.as_str()).map(str::to_owned),
                Self::Other => row.fields.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
                _ => None,
            };
            // An id that two rows share names neither.
            let id = own.filter(|id| taken.insert(id.clone())).unwrap_or_else(|| format!("{prefix}-{index}"));
            items.push(Item { id, content: self.content(row)? });
        }
        Ok(items)
    }

    fn content(self, row: &Row) -> Result<Content> {
        let expects = self.expects();
        let text = |name: &str| row.text(name, expects);
        let maybe = |name: &str| {
            if row.fields.get(name).is_none_or(serde_json::Value::is_null) { Ok(String::new()) } else { text(name) }
        };
        let gold = |name: &str, first: i64, options: usize| {
            let gold = usize::try_from(row.number(name)? - first).ok()?;
            (gold < options).then_some(gold)
        };
        Ok(match self {
            Self::Wikitext | Self::Lambada => Content::Passage { text: text("text")? },
            Self::Hellaswag => {
                let endings = row.texts("endings", expects)?;
                if endings.is_empty() {
                    return Err(row.broken("has no `endings`", expects));
                }
                let gold = gold("label", 0, endings.len());
                Content::Endings {
                    activity: maybe("activity_label")?,
                    context_a: maybe("ctx_a")?,
                    context_b: maybe("ctx_b")?,
                    context: text("ctx")?,
                    endings,
                    gold,
                }
            }
            Self::Piqa => Content::Solutions {
                goal: text("goal")?,
                solutions: vec![text("sol1")?, text("sol2")?],
                gold: gold("label", 0, 2),
            },
            Self::Winogrande => {
                let sentence = text("sentence")?;
                if !sentence.contains('_') {
                    return Err(row.broken("has a `sentence` without the gap `_`", expects));
                }
                let options = vec![text("option1")?, text("option2")?];
                Content::Gap { sentence, options, gold: gold("answer", 1, 2) }
            }
            Self::Other => {
                let question = maybe("question")?;
                let answers = row.texts("answer", expects)?;
                let (passage, text) = (maybe("passage")?, maybe("text")?);
                if question.is_empty() && answers.is_empty() && passage.is_empty() && text.is_empty() {
                    return Err(row.broken("has no `question`, `answer`, `passage` or `text`", expects));
                }
                Content::Question { question, answers, passage, text }
            }
        })
    }
}

/// Paragraphs between titles. Inner headings (` = = Life = = `) stay paragraphs: they are too short to match anything.
fn articles(prefix: &str, rows: &[Row]) -> Result<Vec<Item>> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        // Published as whole articles, a row is one: what evaluation asks as document N is item N.
        let page = row.fields.contains_key("page");
        let text = row.text(if page { "page" } else { "text" }, Layout::Wikitext.expects())?;
        if page {
            let (title, paragraphs) = article(&text);
            found.push((title, paragraphs));
            continue;
        }
        for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
            match (title_of(line), found.last_mut()) {
                (Some(title), _) => found.push((title.to_owned(), Vec::new())),
                (None, Some((_, paragraphs))) => paragraphs.push(line.to_owned()),
                (None, None) => found.push((String::new(), vec![line.to_owned()])),
            }
        }
    }
    let item = |(index, (title, paragraphs))| Item {
        id: format!("{prefix}-{index}"),
        content: Content::Article { title, paragraphs },
    };
    Ok(found.into_iter().enumerate().map(item).collect())
}

/// Title and paragraphs of one article.
fn article(page: &str) -> (String, Vec<String>) {
    let mut lines = page.split('\n').map(str::trim).filter(|line| !line.is_empty()).peekable();
    let title = lines.next_if(|line| title_of(line).is_some()).and_then(title_of).unwrap_or_default();
    (title.to_owned(), lines.map(str::to_owned).collect())
}

/// The title in ` = Title = `; none in ` = = Heading = = `.
fn title_of(line: &str) -> Option<&str> {
    line.strip_prefix("= ").and_then(|rest| rest.strip_suffix(" =")).filter(|title| !title.starts_with("= "))
}
