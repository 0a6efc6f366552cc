//! When a shared text is evidence: a rule per benchmark, each number an option of its own.
//!
//! The defaults follow what the sets look like. LAMBADA asks for the last word, so a long copy that stops before it does
//! no harm; HellaSwag's wrong endings are written by a machine and prove as much as the right one when 13 words agree;
//! PIQA has items of eight words that no n-gram of 13 finds, so short ones must be there as a whole.

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::GRAM;
use crate::benchmarks::Layout;

/// WikiText: articles as paragraphs. 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WikitextRule {
    /// A paragraph of at least this many words that equals a line of the document.
    pub paragraph: usize,
    /// A run of this many words shared with one paragraph.
    pub run: usize,
    /// This share of the 13-grams of an article.
    pub share: f64,
}

impl Default for WikitextRule {
    fn default() -> Self {
        Self { paragraph: 13, run: 30, share: 0.2 }
    }
}

/// LAMBADA, both variants. 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LambadaRule {
    /// A shared run of this many words that reaches the last word of the passage.
    pub final_run: usize,
    /// This share of the passage's words lies in shared 8-grams.
    pub cover: f64,
}

impl Default for LambadaRule {
    fn default() -> Self {
        Self { final_run: 13, cover: 0.5 }
    }
}

/// HellaSwag. 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HellaswagRule {
    /// A run of this many words shared with the context and any of the endings.
    pub run: usize,
    /// This share of the words of context and right ending lies in shared 8-grams.
    pub cover: f64,
}

impl Default for HellaswagRule {
    fn default() -> Self {
        Self { run: 13, cover: 0.6 }
    }
}

/// PIQA. 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PiqaRule {
    /// This share of the words of goal and one of the solutions lies in shared 8-grams.
    pub cover: f64,
    /// Of a goal and solution with fewer words than this, only the whole counts.
    pub whole_below: usize,
}

impl Default for PiqaRule {
    fn default() -> Self {
        Self { cover: 0.6, whole_below: 13 }
    }
}

/// Winogrande. 0 or `false` switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WinograndeRule {
    /// The whole sentence with either option filled in.
    pub whole: bool,
    /// A run of this many words shared with the sentence, either option filled in.
    pub run: usize,
}

impl Default for WinograndeRule {
    fn default() -> Self {
        Self { whole: true, run: 13 }
    }
}

/// Any other set: questions with their answers, passages, texts. 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtherRule {
    /// A shared run of this many words.
    pub run: usize,
    /// This share of the words lies in shared 8-grams.
    pub cover: f64,
    /// Of a question and answer, passage or text with fewer words than this, only the whole counts.
    pub whole_below: usize,
}

impl Default for OtherRule {
    fn default() -> Self {
        Self { run: 13, cover: 0.5, whole_below: 13 }
    }
}

/// The rules of all sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// WikiText.
    pub wikitext: WikitextRule,
    /// LAMBADA, both variants.
    pub lambada: LambadaRule,
    /// HellaSwag.
    pub hellaswag: HellaswagRule,
    /// PIQA.
    pub piqa: PiqaRule,
    /// Winogrande.
    pub winogrande: WinograndeRule,
    /// Any other set.
    pub other: OtherRule,
}

/// What counts for the items of one set; 0 and `false` are off.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rule {
    pub paragraph: usize,
    pub run: usize,
    pub final_run: usize,
    pub cover: f64,
    pub share: f64,
    pub whole: bool,
    pub whole_below: usize,
}

impl Rules {
    /// The rule for a set of this layout.
    pub fn of(&self, layout: Layout) -> Rule {
        let none = Rule::default();
        match layout {
            Layout::Wikitext => {
                let WikitextRule { paragraph, run, share } = self.wikitext;
                Rule { paragraph, run, share, ..none }
            }
            Layout::Lambada => {
                let LambadaRule { final_run, cover } = self.lambada;
                Rule { final_run, cover, ..none }
            }
            Layout::Hellaswag => {
                let HellaswagRule { run, cover } = self.hellaswag;
                Rule { run, cover, ..none }
            }
            Layout::Piqa => {
                let PiqaRule { cover, whole_below } = self.piqa;
                Rule { cover, whole_below, ..none }
            }
            Layout::Winogrande => {
                let WinograndeRule { whole, run } = self.winogrande;
                Rule { run, whole, ..none }
            }
            Layout::Other => {
                let OtherRule { run, cover, whole_below } = self.other;
                Rule { run, cover, whole_below, ..none }
            }
        }
    }

    /// # Errors
    /// When a run is shorter than what the index can see, or a share is none.
    pub fn check(&self) -> Result<()> {
        let words = [
            ("rules.wikitext.paragraph", self.wikitext.paragraph),
            ("rules.wikitext.run", self.wikitext.run),
            ("rules.lambada.final_run", self.lambada.final_run),
            ("rules.hellaswag.run", self.hellaswag.run),
            ("rules.winogrande.run", self.winogrande.run),
            ("rules.other.run", self.other.run),
        ];
        for (name, words) in words {
            if (1..GRAM).contains(&words) {
                return Err(Error::usage(format!(
                    "`{name}` is {words}, and runs of fewer than {GRAM} words are not seen"
                ))
                .hint(format!("give {GRAM} or more, or 0 to switch the rule off")));
            }
        }
        let shares = [
            ("rules.wikitext.share", self.wikitext.share),
            ("rules.lambada.cover", self.lambada.cover),
            ("rules.hellaswag.cover", self.hellaswag.cover),
            ("rules.piqa.cover", self.piqa.cover),
            ("rules.other.cover", self.other.cover),
        ];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::usage(format!("`{name}` is {share}, and a share is between 0 and 1"))
                    .hint("0 switches the rule off"));
            }
        }
        Ok(())
    }
}
