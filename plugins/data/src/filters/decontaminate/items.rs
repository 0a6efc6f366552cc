//! The items to look for, each as the texts that would give it away: a paragraph, a context with an ending filled in.

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
    let item = |item: &crate::benchmarks::Item| Item {
        set: benchmark.set.clone(),
        id: item.id.clone(),
        rule,
        parts: parts(&item.content),
    };
    benchmark.items.iter().map(item).collect()
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
