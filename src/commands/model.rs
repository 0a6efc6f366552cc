//! `psann model import` and `psann model export`: models from and for the Python reference and Hugging Face's folders.

use clap::ValueEnum;
use psann_core::{Error, Result};
use psann_data::tokenizer;
use psann_train::export::SaveOptions;
use psann_train::hugging_face;
use psann_train::options::Precision;
use psann_train::reference::{self, ReadOptions};
use serde_json::{Map, Value, json};

use crate::cli::{ExportDtype, ExportFormat, ModelCommand, ModelExportArgs, ModelImportArgs};
use crate::display::{self, Failure, bytes, count};
use crate::run;

/// Imports or exports a model.
pub fn execute(command: &ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Import(args) => import(args),
        ModelCommand::Export(args) => export(args),
    }
}

fn export(args: &ModelExportArgs) -> Result<(), Failure> {
    let (model, tokenizer) = run::locate(&args.run)?;
    let report = match args.format {
        ExportFormat::Psannlm => {
            if args.dtype != ExportDtype::Fp32 {
                return Err(Error::usage("psannlm's files hold fp32 weights").hint("leave `--dtype` out").into());
            }
            let tokenizer = tokenizer.map(|folder| run::tokenizer_files(&folder)).transpose()?;
            reference::export(&model, &args.path, tokenizer.as_ref())?
        }
        ExportFormat::HuggingFace => {
            let tokenizer = tokenizer.map(|folder| run::tokenizer_folder(&folder)).transpose()?;
            let dtype = match args.dtype {
                ExportDtype::Fp32 => Precision::Fp32,
                ExportDtype::Bf16 => Precision::Bf16,
            };
            let options = SaveOptions { dtype, ..SaveOptions::default() };
            hugging_face::export(&model, &args.path, tokenizer.as_ref(), &options)?
        }
    };
    let text = format!(
        "{} parameters · {} · {}",
        count(report.parameters as f64),
        bytes(report.bytes as f64),
        report.path.display()
    );
    display::result(&if args.json { json!(report).to_string() } else { text });
    Ok(())
}

fn import(args: &ModelImportArgs) -> Result<(), Failure> {
    let given = given(args)?;
    let report = if args.path.is_dir() {
        if !given.is_empty() {
            return Err(Error::usage("a Hugging Face folder says itself what its model is like")
                .hint("leave `--heads`, `--positions` and `--set` out")
                .into());
        }
        hugging_face::import(&args.path, &args.directory)?
    } else {
        let options = ReadOptions { model: given, optimizer: false };
        reference::import(&args.path, &args.directory, tokenizer::FILES, &options)?
    };
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
