//! What can follow at the prompt: plugins after `kind::`, stages after a dot, options inside a call's map, names.

use psann_core::options::Field;
use psann_core::registry::{self, Kind, Plugin};

use crate::plugins;

/// Something that can stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The whole word.
    pub text: String,
    /// How many bytes before the cursor it takes the place of.
    pub replaces: usize,
    /// One line of help; empty for variables.
    pub help: String,
}

/// The completions of the word at the end of `before`, sorted.
pub(crate) fn of<'a>(before: &str, variables: impl Iterator<Item = &'a str>) -> Vec<Completion> {
    if let Some((kind, begun)) = open_id(before) {
        let of_others = registry::of_kind(kind).into_iter().filter(|plugin| plugin.origin.is_some());
        let begins = of_others.filter(|plugin| plugin.name.starts_with(begun));
        let completion = |plugin: &Plugin| Completion {
            text: plugin.name.to_owned(),
            replaces: begun.len(),
            help: plugin.summary(),
        };
        return begins.map(completion).collect();
    }
    let start = before.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + last_width(before, at));
    let (front, word) = before.split_at(start);
    let mut found: Vec<(String, String)> = if let Some(front) = front.strip_suffix("::") {
        of_kind(last_word(front))
    } else if front.ends_with('.') {
        entries(&registry::of_kind(Kind::Stage))
    } else if let Some((plugin, path)) = open_call(front) {
        options(plugin, &path)
    } else {
        names(variables)
    };
    found.retain(|(name, _)| name.starts_with(word));
    found.sort();
    found.dedup();
    found.into_iter().map(|(text, help)| Completion { text, replaces: word.len(), help }).collect()
}

fn last_width(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

fn of_kind(word: &str) -> Vec<(String, String)> {
    plugins::kinds().find(|kind| kind.word() == word).map(|kind| entries(&registry::of_kind(kind))).unwrap_or_default()
}

fn entries(plugins: &[&Plugin]) -> Vec<(String, String)> {
    let callable = plugins.iter().filter(|plugin| plugin.origin.is_none());
    let mut found: Vec<_> = callable.map(|plugin| (plugin.name.to_owned(), plugin.summary())).collect();
    if plugins.iter().any(|plugin| plugin.origin.is_some()) {
        found.push((plugins::BY_ID.to_owned(), "plugin(id, options): a plugin of someone else".to_owned()));
    }
    found
}

/// The kind and the beginning of the id, where one is being written: `source::plugin("org.he`.
fn open_id(before: &str) -> Option<(Kind, &str)> {
    let (front, begun) = before.rsplit_once('"')?;
    let front = front.trim_end().strip_suffix('(')?.trim_end().strip_suffix(plugins::BY_ID)?.strip_suffix("::")?;
    let kind = Kind::from_word(last_word(front))?;
    plugins::KINDS_BY_ID.contains(&kind).then_some((kind, begun))
}

fn names<'a>(variables: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = variables.map(|name| (name.to_owned(), String::new())).collect();
    found.extend(plugins::kinds().map(|kind| (format!("{kind}::"), format!("{kind}s"))));
    found.push(("param".into(), "param(name, default, help)".into()));
    found.push(("pipeline".into(), "pipeline(name)".into()));
    found
}

/// The options of a plugin's group at `path`.
fn options(plugin: &Plugin, path: &[String]) -> Vec<(String, String)> {
    let mut fields: Vec<Field> = (plugin.schema)().fields();
    for key in path {
        fields = fields.into_iter().find(|field| field.name == *key).map(|field| field.fields).unwrap_or_default();
    }
    let help = |field: &Field| field.help.lines().next().unwrap_or_default().to_owned();
    fields.iter().map(|field| (field.name.clone(), help(field))).collect()
}

/// The plugin whose map of options is open at the end of `text` where a key is due, and the keys of the groups that
/// lead there.
fn open_call(text: &str) -> Option<(&'static Plugin, Vec<String>)> {
    if !matches!(text.trim_end().chars().next_back(), Some('{' | ',')) {
        return None;
    }
    // Open brackets, each with the word in front of it.
    let mut open: Vec<(char, String)> = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(closing) if c == closing => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '`' => quote = Some(c),
                '(' | '[' | '{' => open.push((c, callee(&text[..at], &text[at + 1..]))),
                ')' | ']' | '}' => {
                    open.pop();
                }
                _ => {}
            },
        }
    }
    let mut path = Vec::new();
    for (bracket, word) in open.iter().rev() {
        match bracket {
            '{' if !word.is_empty() => path.insert(0, word.clone()),
            '{' => {}
            '(' => return Some((named(word)?, path)),
            _ => return None,
        }
    }
    None
}

/// What a bracket belongs to; with the id behind it where that names the plugin.
fn callee(before: &str, behind: &str) -> String {
    let word = word_in_front(before);
    let Some(kind) = word.strip_suffix(plugins::BY_ID).filter(|kind| kind.ends_with("::")) else { return word };
    match behind.trim_start().strip_prefix('"').and_then(|id| id.split_once('"')) {
        Some((id, _)) => format!("{kind}{id}"),
        None => word,
    }
}

/// `source::jsonl` in front of a bracket, or the key in front of `: #{`.
fn word_in_front(text: &str) -> String {
    let text = text.strip_suffix('#').unwrap_or(text).trim_end();
    let text = text.strip_suffix(':').unwrap_or(text);
    let fits = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    text.rsplit(|c| !fits(c)).next().unwrap_or_default().to_owned()
}

fn named(word: &str) -> Option<&'static Plugin> {
    match word.split_once("::") {
        Some((kind, name)) => registry::find(Kind::from_word(kind)?, name).ok(),
        None => registry::find(Kind::Stage, word).ok(),
    }
}

fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
}
