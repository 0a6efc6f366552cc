//! The items to look for, each as the texts that would give it away: a paragraph, a context with an ending filled in.

use super::matching::LONG_GRAM;
use super::rules::{Rule, Rules};
use super::words::words;
use crate::benchmarks::{Benchmark, Content, Layout};

/// An item and its parts.
#[derive(Debug, Clone)]
pub struct Item {
    /// Name of its set.
    pub set: String,
    /// Its id in the set.
    pub id: String,
    /// What counts as evidence for it.
    pub rule: Rule,
    /// Its texts.
    pub parts: Vec<Part>,
    /// With fewer shared words than this no rule can be satisfied.
    pub least: usize,
}

/// One text of an item.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its words, hashed.
    pub words: Vec<u64>,
    /// Whether its cover counts; that of a context with a wrong ending does not.
    pub covers: bool,
}

/// What HellaSwag's WikiHow half writes between the pieces of a page. No page has them.
const MARKERS: [&str; 4] = ["[header]", "[title]", "[step]", "[substeps]"];

/// The items of a benchmark.
pub fn items(benchmark: &Benchmark, layout: Layout, rules: &Rules) -> Vec<Item> {
    let rule = rules.of(layout);
    let item = |item: &crate::benchmarks::Item| {
        let parts = parts(&item.content);
        let least = parts.iter().map(|part| least(part, &rule)).min().unwrap_or_default();
        Item { set: benchmark.set.clone(), id: item.id.clone(), rule, parts, least }
    };
    benchmark.items.iter().map(item).collect()
}

/// A document that shares a stray n-gram with an item is common, and need not be looked at closely.
fn least(part: &Part, rule: &Rule) -> usize {
    let length = part.words.len();
    if length < rule.whole_below {
        return length;
    }
    let rules = [
        (rule.paragraph > 0, length),
        (rule.whole, length),
        (rule.run > 0, rule.run),
        (rule.final_run > 0, rule.final_run),
        (rule.cover > 0.0 && part.covers, (rule.cover * length as f64) as usize),
        (rule.share > 0.0, LONG_GRAM),
    ];
    rules.into_iter().filter(|(on, _)| *on).map(|(_, words)| words).min().unwrap_or(usize::MAX)
}

fn parts(content: &Content) -> Vec<Part> {
    let part = |text: &str| Part { words: words(text), covers: true };
    let mut parts: Vec<Part> = match content {
        Content::Article { paragraphs, .. } => paragraphs.iter().map(|paragraph| part(paragraph)).collect(),
        Content::Passage { text } => vec![part(text)],
        Content::Endings { context, endings, gold, .. } => {
            let full = |(index, ending): (usize, &String)| Part {
                covers: gold.is_none_or(|gold| gold == index),
                ..part(&without_markers(&format!("{context} {ending}")))
            };
            endings.iter().enumerate().map(full).collect()
        }
        Content::Solutions { goal, solutions, .. } => {
            solutions.iter().map(|solution| part(&format!("{goal} {solution}"))).collect()
        }
        Content::Gap { sentence, options, .. } => {
            options.iter().map(|option| part(&sentence.replacen('_', option, 1))).collect()
        }
        Content::Question { question, answers, passage, text } => {
            let mut parts: Vec<Part> = answers.iter().map(|answer| part(&format!("{question} {answer}"))).collect();
            if answers.is_empty() {
                parts.push(part(question));
            }
            parts.extend([part(passage), part(text)]);
            parts
        }
    };
    parts.retain(|part| !part.words.is_empty());
    parts
}

fn without_markers(text: &str) -> String {
    MARKERS.iter().fold(text.to_owned(), |text, marker| text.replace(marker, " "))
}
