//! `psann data`: a look into a prepared corpus, and into what a run saw of it.

use std::io::Read;
use std::path::{Path, PathBuf};

use psann_core::quantity::grouped;
use psann_core::tokens::RowSources;
use psann_core::{Document, Error, Result};
use psann_data::documents::{Manifest, Split, read_shard};
use psann_data::prepare::{Explanation, Fate, PrepareReport, explain, fate, filters_of, read_report};
use serde_json::{Value, json};

use crate::cli::{DataArgs, DataCommand};
use crate::display::{self, Failure, bytes};
use crate::plugins;
use crate::run::data::{Seen, seen};

/// Does what the command says.
pub fn execute(args: &DataArgs) -> Result<(), Failure> {
    plugins::register(&args.plugins)?;
    match &args.command {
        DataCommand::Stats { corpus, json } => stats(&find(corpus)?, *json),
        DataCommand::Peek { corpus, step: Some(step), row, chars, json, .. } => {
            show_step(&seen(corpus, *step, *row)?, *step, *chars, *json)
        }
        DataCommand::Peek { corpus, documents, validation, chars, json, .. } => {
            let split = if *validation { Split::Validation } else { Split::Train };
            peek(&find(corpus)?, split, *documents, *chars, *json)
        }
        DataCommand::Why { corpus, doc, text, json } => {
            let corpus = find(corpus)?;
            match (doc, text) {
                (Some(doc), _) => show_fate(&fate(&corpus, doc)?, *json),
                (None, Some(file)) => show_explanations(&ask(&corpus, file)?, *json),
                (None, None) => Err(Error::usage("neither a document nor a text is given").into()),
            }
        }
    }
}

/// The corpus at `path`: itself, or what the latest `prepare` stage of a run made.
fn find(path: &Path) -> Result<PathBuf> {
    if path.join(Manifest::FILE).is_file() {
        return Ok(path.to_owned());
    }
    let plan: Option<Value> =
        std::fs::read(path.join("plan.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let stages = plan.as_ref().and_then(|plan| plan["stages"].as_array()).cloned().unwrap_or_default();
    let out = stages.iter().rev().find_map(|stage| stage["options"]["out"].as_str());
    let mut found: Vec<PathBuf> = out.map(PathBuf::from).into_iter().collect();
    if let Ok(entries) = std::fs::read_dir(path) {
        let stage = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("prepare"));
        found.extend(entries.flatten().map(|entry| entry.path()).filter(stage));
    }
    let modified = |path: &PathBuf| std::fs::metadata(path.join(Manifest::FILE)).and_then(|file| file.modified()).ok();
    found.retain(|path| path.join(Manifest::FILE).is_file());
    found.into_iter().max_by_key(modified).ok_or_else(|| {
        Error::new(format!("`{}` holds no prepared corpus", path.display()))
            .hint("give the folder named by `out` of the stage `prepare`, or the folder of a run that has finished it")
    })
}

fn stats(corpus: &Path, json: bool) -> Result<(), Failure> {
    let report = read_report(corpus)?;
    if json {
        display::result(&to_line(&report)?);
    } else {
        display::result(&stats_text(corpus, &report));
    }
    Ok(())
}

/// The report as people read it in a terminal.
fn stats_text(corpus: &Path, report: &PrepareReport) -> String {
    let mut text = format!("{}\n\n", corpus.display());
    let mut row = |name: &str, documents: u64, size: u64| {
        let share = size as f64 / report.read.bytes.max(1) as f64 * 100.0;
        text.push_str(&format!("  {name:<28} {:>14} {:>10} {share:>6.1} %\n", grouped(documents), bytes(size as f64)));
    };
    row("read", report.read.documents, report.read.bytes);
    for filter in &report.filters {
        row(&format!("after {}", filter.name), filter.kept.documents, filter.kept.bytes);
    }
    row("to train on", report.train.documents, report.train.bytes);
    row("held out", report.validation.documents, report.validation.bytes);
    for filter in report.filters.iter().filter(|filter| !filter.dropped.is_empty()) {
        text.push_str(&format!("\n  {} dropped\n", filter.name));
        for (reason, amount) in &filter.dropped {
            let share = amount.documents as f64 / filter.seen.documents.max(1) as f64 * 100.0;
            text.push_str(&format!("    {reason:<26} {:>14} {share:>17.2} %\n", grouped(amount.documents)));
        }
        if let Some(clusters) = &filter.clusters {
            let (groups, largest) = (grouped(clusters.clusters), grouped(clusters.largest));
            let plural = if clusters.clusters == 1 { "" } else { "s" };
            text.push_str(&format!("    in {groups} group{plural} of copies, the largest of {largest}\n"));
        }
    }
    for warning in report.warnings() {
        text.push_str(&format!("\n  warning: {warning}"));
    }
    text.push_str(&format!("\n  the whole report: {}\n", corpus.join(psann_data::prepare::REPORT_PAGE).display()));
    text
}

fn peek(corpus: &Path, split: Split, documents: u64, chars: usize, json: bool) -> Result<(), Failure> {
    let manifest = Manifest::read(corpus)?;
    let shards = manifest.shards(split);
    let total: u64 = shards.iter().map(|shard| shard.documents).sum();
    let wanted: Vec<u64> = (0..documents.min(total)).map(|n| n * total / documents.min(total)).collect();
    let mut first = 0;
    for shard in shards {
        let here: Vec<u64> =
            wanted.iter().filter(|n| (first..first + shard.documents).contains(n)).map(|n| n - first).collect();
        first += shard.documents;
        let mut row_of_shard = 0;
        for rows in read_shard(&split.folder(corpus).join(&shard.name))? {
            if here.last().is_none_or(|last| *last < row_of_shard) {
                break;
            }
            let rows = rows?;
            for row in 0..rows.len() {
                if here.contains(&(row_of_shard + row as u64)) {
                    show_document(&rows.place(row).to_string(), rows.batch().document(row), chars, json)?;
                }
            }
            row_of_shard += rows.len() as u64;
        }
    }
    Ok(())
}

/// What the rows of a step held, document by document.
fn show_step(seen: &Seen, step: u64, chars: usize, json: bool) -> Result<(), Failure> {
    for ((RowSources { row, spans }, tokens), hash) in seen.sources.iter().zip(&seen.tokens).zip(&seen.hashes) {
        let mut rest = tokens.as_slice();
        let mut texts = Vec::with_capacity(spans.len());
        for span in spans {
            let (of_span, behind) = rest.split_at((span.tokens as usize).min(rest.len()));
            rest = behind;
            texts.push(shortened(&seen.tokenizer.decode(of_span)?, chars));
        }
        if json {
            let sources: Vec<Value> = spans
                .iter()
                .zip(&texts)
                .map(|(span, (text, cut))| json!({ "source": span, "text": text, "cut": cut }))
                .collect();
            let line = json!({ "step": step, "row": row, "hash": hash, "documents": sources, "tokens": tokens });
            display::result(&to_line(&line)?);
            continue;
        }
        let mut text = format!("── step {step} · row {row} · {} tokens\n", tokens.len());
        for (span, (shown, cut)) in spans.iter().zip(&texts) {
            let id = span.id.as_deref().map(|id| format!(" · {id}")).unwrap_or_default();
            text.push_str(&format!(
                "   {} · document {}{id} · bytes {} to {} · tokens {} to {}\n{shown}{}\n",
                span.file,
                span.document,
                span.bytes.0,
                span.bytes.1,
                span.offset,
                span.offset + span.tokens,
                if *cut { "…" } else { "" }
            ));
        }
        display::result(&text);
    }
    Ok(())
}

/// The first `chars` characters, all of them for 0, and whether that is less than there were.
fn shortened(text: &str, chars: usize) -> (String, bool) {
    let shown: String = text.chars().take(if chars == 0 { usize::MAX } else { chars }).collect();
    let cut = shown.len() < text.len();
    (shown, cut)
}

fn show_document(place: &str, document: Document, chars: usize, json: bool) -> Result<(), Failure> {
    let (mut shown, cut) = shortened(&document.text, chars);
    if json {
        let Document { id, url, source, meta, .. } = document;
        let line = json!({ "document": place, "id": id, "url": url, "source": source, "meta": meta, "text": shown, "cut": cut });
        display::result(&to_line(&line)?);
        return Ok(());
    }
    if cut {
        shown.push('…');
    }
    let names = [Some(place), document.id.as_deref(), document.url.as_deref(), document.source.as_deref()];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    display::result(&format!("── {} · {}\n{shown}\n", names.join(" · "), bytes(document.text.len() as f64)));
    Ok(())
}

fn ask(corpus: &Path, file: &Path) -> Result<Vec<Explanation>> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|e| Error::new(format!("cannot read `{}`", file.display())).because(e))?;
    explain(&filters_of(&read_report(corpus)?)?, &Document { text, ..Document::default() })
}

fn show_fate(fate: &Fate, json: bool) -> Result<(), Failure> {
    if json {
        display::result(&to_line(fate)?);
        return Ok(());
    }
    match fate {
        Fate::Dropped { document, id, url, filter, reason, details } => {
            let mut text = heading(document, id.as_deref(), url.as_deref());
            text.push_str(&format!("dropped by `{filter}`: {reason}\n"));
            text.push_str(&numbers(details));
            display::result(&text);
        }
        Fate::Kept { document, id, url, split, filters } => {
            let mut text = heading(document, id.as_deref(), url.as_deref());
            text.push_str(&format!("kept, in `{split}`; the filters say of its text as it was kept:\n"));
            text.push_str(&explanations(filters));
            display::result(&text);
        }
    }
    Ok(())
}

fn show_explanations(filters: &[Explanation], json: bool) -> Result<(), Failure> {
    let text = if json { to_line(&filters)? } else { explanations(filters) };
    display::result(&text);
    Ok(())
}

fn heading(document: &str, id: Option<&str>, url: Option<&str>) -> String {
    let names: Vec<&str> = [Some(document), id, url].into_iter().flatten().collect();
    format!("document {}\n", names.join(" · "))
}

fn explanations(filters: &[Explanation]) -> String {
    let mut text = String::new();
    for filter in filters {
        let verdict = match (&filter.dropped, filter.rewrites) {
            (Some(reason), _) => format!("would drop it: {reason}"),
            (None, true) => "would keep it, with another text".to_owned(),
            (None, false) => "would keep it".to_owned(),
        };
        let corpus = if filter.corpus { " (as far as one text tells)" } else { "" };
        text.push_str(&format!("  {:<20} {verdict}{corpus}\n", filter.filter));
        text.push_str(&numbers(&filter.scores));
    }
    text
}

fn numbers(details: &Value) -> String {
    let Some(details) = details.as_object() else { return String::new() };
    details.iter().map(|(name, value)| format!("    {name:<38} {value}\n")).collect()
}

fn to_line(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new("cannot write JSON").because(e))
}
