//! `psann model import` and `psann model export`: models from and for the Python reference.

use clap::ValueEnum;
use psann_core::{Error, Result};
use psann_data::tokenizer;
use psann_train::reference::{self, ReadOptions};
use serde_json::{Map, Value, json};

use crate::cli::{ModelCommand, ModelImportArgs};
use crate::display::{self, Failure, bytes, count};
use crate::run;

/// Imports or exports a model.
pub fn execute(command: &ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Import(args) => import(args),
        ModelCommand::Export { run, file, json } => {
            let (model, tokenizer) = run::locate(run)?;
            let tokenizer = tokenizer.map(|folder| run::tokenizer_files(&folder)).transpose()?;
            let report = reference::export(&model, file, tokenizer.as_ref())?;
            let text = format!(
                "{} parameters · {} · {}",
                count(report.parameters as f64),
                bytes(report.bytes as f64),
                report.path.display()
            );
            display::result(&if *json { json!(report).to_string() } else { text });
            Ok(())
        }
    }
}

fn import(args: &ModelImportArgs) -> Result<(), Failure> {
    let options = ReadOptions { model: given(args)?, optimizer: false };
    let report = reference::import(&args.file, &args.directory, tokenizer::FILES, &options)?;
    let mut text = format!("{} · {} parameters", report.layout, count(report.parameters as f64));
    if report.step > 0 {
        text.push_str(&format!(" · step {}", report.step));
    }
    text.push_str(if report.tokenizer { " · with its tokenizer" } else { " · without a tokenizer" });
    text.push_str(&format!(" · {}", report.path.display()));
    for note in &report.notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    display::result(&if args.json { json!(report).to_string() } else { text });
    Ok(())
}

/// The options of the model that the command line gives.
fn given(args: &ModelImportArgs) -> Result<Map<String, Value>> {
    let mut options = Map::new();
    if let Some(heads) = args.heads {
        options.insert("n_heads".into(), heads.into());
    }
    if let Some(name) = args.positions.and_then(|positions| positions.to_possible_value()) {
        options.insert("positional_encoding".into(), name.get_name().into());
    }
    for (path, value) in &args.sets {
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.as_str().into());
        let (groups, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = &mut options;
        for group in groups.split('.').filter(|group| !group.is_empty()) {
            let inner = place.entry(group).or_insert_with(|| json!({}));
            place = inner
                .as_object_mut()
                .ok_or_else(|| Error::usage(format!("`--set {path}` goes into `{group}`, which is set to a value")))?;
        }
        place.insert(name.to_owned(), value);
    }
    Ok(options)
}
