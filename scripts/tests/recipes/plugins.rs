//! Made-up plugins of every kind. Recipes know plugins only by their schemas, so no constructor is needed.

use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::quantity::{Count, Share, Span};
use psann_core::register;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// JSON lines.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Jsonl {
    /// Files.
    path: Option<Paths>,
    /// A list of files.
    manifest: Option<String>,
    /// The field that holds the text.
    text: String,
}

/// One file or several.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Paths {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Several sources.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Mix {
    /// What is mixed.
    parts: Vec<Part>,
    /// Other seeds leave out other documents.
    seed: u64,
}

/// One source of a mixture.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Part {
    /// Its documents.
    #[schemars(extend("x-plugin" = "source"))]
    source: Option<Component>,
    /// Its share.
    weight: Option<f64>,
}

/// Text files.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Text {
    /// Files.
    path: Option<String>,
}

/// Normalises text.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Normalize {
    /// Unicode form.
    form: Option<Form>,
}

/// Unicode forms.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Form {
    Nfc,
    Nfkc,
}

/// Drops short documents.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Length {
    /// Least number of characters.
    least: u64,
}

/// Trains a BPE.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TrainBpe {
    /// Size.
    vocab: u64,
}

/// Loads a tokenizer.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LoadTokenizer {
    /// Folder or file.
    path: Option<String>,
}

/// A network.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WaveResNet {
    /// Width.
    #[schemars(range(min = 1))]
    d_model: u64,
    /// Blocks.
    n_layers: u64,
    /// Vocabulary.
    vocab: Option<Vocabulary>,
    /// Share dropped.
    dropout: f64,
}

/// A size, or where it comes from.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Vocabulary {
    /// A number of tokens.
    Size(u64),
    /// The word `tokenizer`.
    From(String),
}

/// Adam.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AdamW {
    /// Learning rate.
    lr: f64,
    /// Decays of the moments.
    betas: (f64, f64),
}

/// One process.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Single {}

/// Reads and filters.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Prepare {
    /// Documents.
    data: Option<Flow>,
    /// Part kept for validation.
    validation: Option<Share>,
    /// Filters for the validation part.
    checks: Vec<FilterComponent>,
}

/// Makes the tokenizer.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TokenizerStage {
    /// How.
    #[schemars(extend("x-plugin" = "tokenizer"))]
    tokenizer: Option<Component>,
}

/// Trains a model.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Pretrain {
    /// Network.
    #[schemars(extend("x-plugin" = "model"))]
    model: Option<Component>,
    /// Optimizer.
    #[schemars(extend("x-plugin" = "optimizer"))]
    optimizer: Option<Component>,
    /// Sharder.
    #[schemars(extend("x-plugin" = "sharder"))]
    sharder: Option<Component>,
    /// Steps.
    steps: Option<Count>,
    /// Context.
    seq_len: u64,
    /// Rows.
    batch: u64,
    /// Learning rate over time.
    schedule: Option<Schedule>,
    /// Seed.
    seed: u64,
}

/// Learning rate over time.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Schedule {
    /// Rise.
    warmup: Option<Span>,
    /// Shape.
    decay: Option<String>,
    /// Last rate over the highest.
    floor: f64,
}

/// Measures perplexity.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Evaluate {
    /// Windows at once.
    batch: Option<u64>,
    /// Names, or files.
    #[schemars(extend("x-path" = ".toml"))]
    tasks: Vec<String>,
    /// Folders.
    #[schemars(extend("x-path" = true))]
    data: Vec<String>,
}

/// Prints texts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    /// Beginnings.
    prompts: Vec<String>,
    /// Length.
    tokens: u64,
}

/// Exports the model.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Save {
    /// Format.
    format: Option<String>,
    /// Folder.
    path: Option<String>,
}

register!(Source, "jsonl", Jsonl, primary = "path");
register!(Source, "mix", Mix, primary = "parts");
register!(Source, "text", Text, primary = "path");
register!(Filter, "normalize", Normalize);
register!(Filter, "length", Length, primary = "least");
register!(Tokenizer, "train_bpe", TrainBpe);
register!(Tokenizer, "load", LoadTokenizer, primary = "path");
register!(Model, "waveresnet", WaveResNet);
register!(Optimizer, "adamw", AdamW);
register!(Sharder, "single", Single);
register!(Stage, "prepare", Prepare);
register!(Stage, "tokenizer", TokenizerStage);
register!(Stage, "pretrain", Pretrain);
register!(Stage, "evaluate", Evaluate);
register!(Stage, "sample", Sample);
register!(Stage, "save", Save, primary = "path");

/// Recipes write options as bare keys, plugins as functions and stages as methods.
#[test]
fn no_name_is_a_reserved_word() {
    let reserved = psann_scripts::reserved_words();
    for plugin in psann_core::registry::all() {
        assert!(!reserved.contains(&plugin.name), "{plugin:?}");
        for field in (plugin.schema)().fields() {
            assert!(!reserved.contains(&field.name.as_str()), "`{}` of {plugin:?}", field.name);
        }
    }
}
