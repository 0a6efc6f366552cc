//! The registry: every plugin and stage by kind and name, with its options' schema and its constructor.
//!
//! Built-ins are submitted through `inventory` wherever they are defined; a crate that is only listed as a
//! dependency is not linked, so the binary says `use psann_plugins_data as _;`. Listings are sorted, because
//! link order is nobody's business. Plugins that are found while the program runs are [added](add), and those that may not
//! be used are [explained](explain).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;

use crate::options::{self, Options, Schema};
use crate::suggest;
use crate::{DataSource, Error, Filter, Result};
#[cfg(feature = "torch")]
use crate::{Model, Optimizer, Sharder, sharder::Placement};

/// What a plugin is: the five kinds with a trait of their own, and the two that the engine itself provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A [`DataSource`].
    Source,
    /// A [`Filter`].
    Filter,
    /// A way to come by a tokenizer: train one, or load one.
    Tokenizer,
    /// A `Model`.
    Model,
    /// An `Optimizer`.
    Optimizer,
    /// A `Sharder`.
    Sharder,
    /// A stage of a pipeline, such as `pretrain`.
    Stage,
}

impl Kind {
    /// All kinds, in the order listings show them.
    pub const ALL: [Self; 7] =
        [Self::Source, Self::Filter, Self::Tokenizer, Self::Model, Self::Optimizer, Self::Sharder, Self::Stage];

    /// The word in recipes, plans and listings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Filter => "filter",
            Self::Tokenizer => "tokenizer",
            Self::Model => "model",
            Self::Optimizer => "optimizer",
            Self::Sharder => "sharder",
            Self::Stage => "stage",
        }
    }

    /// The kind a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a plugin is made from its options (a JSON object that [`options::parse`] accepts).
#[derive(Clone, Copy)]
pub enum Factory {
    /// Makes a source.
    Source(&'static Make<dyn DataSource>),
    /// Makes a filter.
    Filter(&'static Make<dyn Filter>),
    /// Makes a model.
    #[cfg(feature = "torch")]
    Model(&'static Make<dyn Model>),
    /// Makes an optimizer.
    #[cfg(feature = "torch")]
    Optimizer(&'static Make<dyn Optimizer>),
    /// Makes a sharder for this process.
    #[cfg(feature = "torch")]
    Sharder(fn(&Value, Placement) -> Result<Box<dyn Sharder>>),
    /// The engine room that registered the entry reads the options itself (tokenizers and stages).
    Engine,
}

/// Makes a plugin from its options.
pub type Make<T> = dyn Fn(&Value) -> Result<Box<T>> + Send + Sync;

/// One entry of the registry.
pub struct Plugin {
    /// What it is.
    pub kind: Kind,
    /// Its name within the kind, as recipes write it.
    pub name: &'static str,
    /// Version of its behaviour; a change makes stages that use it run again.
    pub version: u32,
    /// The option that a recipe may give without its name: `source::jsonl("corpus.jsonl")`.
    pub primary: Option<&'static str>,
    /// Its options, from the doc comments and defaults of one struct.
    pub schema: &'static (dyn Fn() -> Schema + Send + Sync),
    /// Its constructor.
    pub factory: Factory,
    /// Who brought it, as in `plugin org.letters 0.1.0`; `None` for what is part of psann.
    pub origin: Option<&'static str>,
}

inventory::collect!(Plugin);

impl Plugin {
    /// One sentence on what it does: the first paragraph of its options' doc comment.
    pub fn summary(&self) -> String {
        (self.schema)().summary()
    }

    /// `source jsonl`, for messages.
    pub fn label(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} v{}", self.kind, self.name, self.version)
    }
}

/// What was found while the program runs.
struct Found {
    plugins: Vec<&'static Plugin>,
    /// What there is to say of names that were found and may not be used.
    refused: BTreeMap<(Kind, String), (String, String)>,
    /// Those of them that someone asked for.
    asked: BTreeSet<String>,
}

static FOUND: RwLock<Found> =
    RwLock::new(Found { plugins: Vec::new(), refused: BTreeMap::new(), asked: BTreeSet::new() });

/// Adds an entry that was found while the program runs. It stays for good: plans and recipes refer to it.
///
/// # Errors
/// When there is one of that kind and name.
pub fn add(plugin: Plugin) -> Result<()> {
    if all().iter().any(|other| (other.kind, other.name) == (plugin.kind, plugin.name)) {
        return Err(Error::new(format!("two plugins are called {}", plugin.label())));
    }
    FOUND.write().unwrap_or_else(PoisonError::into_inner).plugins.push(Box::leak(Box::new(plugin)));
    Ok(())
}

/// Says why a name that was found may not be used, and how to mend that; [`find`] repeats it.
pub fn explain(kind: Kind, name: &str, message: String, hint: String) {
    let mut found = FOUND.write().unwrap_or_else(PoisonError::into_inner);
    found.refused.insert((kind, name.to_owned()), (message, hint));
}

/// The names that were asked for and may not be used, as [`explain`] said.
pub fn asked_in_vain() -> Vec<String> {
    FOUND.read().unwrap_or_else(PoisonError::into_inner).asked.iter().cloned().collect()
}

/// All entries, sorted by kind and name.
pub fn all() -> Vec<&'static Plugin> {
    let found = FOUND.read().unwrap_or_else(PoisonError::into_inner);
    let mut plugins: Vec<_> = inventory::iter::<Plugin>.into_iter().chain(found.plugins.iter().copied()).collect();
    plugins.sort_by_key(|plugin| (plugin.kind, plugin.name));
    plugins
}

/// The entries of one kind, sorted by name.
pub fn of_kind(kind: Kind) -> Vec<&'static Plugin> {
    all().into_iter().filter(|plugin| plugin.kind == kind).collect()
}

/// The entry of that kind and name.
///
/// # Errors
/// When there is none; the hint names the nearest, or lists what there is.
pub fn find(kind: Kind, name: &str) -> Result<&'static Plugin> {
    let plugins = of_kind(kind);
    plugins.iter().copied().find(|plugin| plugin.name == name).ok_or_else(|| {
        let mut found = FOUND.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((message, hint)) = found.refused.get(&(kind, name.to_owned())).cloned() {
            found.asked.insert(name.to_owned());
            return Error::usage(message).hint(hint);
        }
        let names = plugins.iter().map(|plugin| plugin.name);
        let hint = match suggest::nearest(name, names.clone()) {
            Some(nearest) => format!("did you mean `{nearest}`? (`psann plugin list` shows all)"),
            None => format!("known: {}", names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
        };
        Error::usage(format!("no {kind} is called `{name}`")).hint(hint)
    })
}

/// Fails when two entries share a kind and a name: which of them a recipe meant would depend on link order.
pub fn check_unique() -> Result<()> {
    for pair in all().windows(2) {
        if (pair[0].kind, pair[0].name) == (pair[1].kind, pair[1].name) {
            return Err(Error::new(format!("two plugins are registered as {}", pair[0].label())));
        }
    }
    Ok(())
}

/// Makes the source called `name`.
pub fn source(name: &str, options: &Value) -> Result<Box<dyn DataSource>> {
    let plugin = find(Kind::Source, name)?;
    match plugin.factory {
        Factory::Source(make) => make(options).map_err(|e| e.within(plugin.label())),
        _ => Err(mismatch(plugin)),
    }
}

/// Makes the filter called `name`.
pub fn filter(name: &str, options: &Value) -> Result<Box<dyn Filter>> {
    let plugin = find(Kind::Filter, name)?;
    match plugin.factory {
        Factory::Filter(make) => make(options).map_err(|e| e.within(plugin.label())),
        _ => Err(mismatch(plugin)),
    }
}

/// Makes the model called `name`.
#[cfg(feature = "torch")]
pub fn model(name: &str, options: &Value) -> Result<Box<dyn Model>> {
    let plugin = find(Kind::Model, name)?;
    match plugin.factory {
        Factory::Model(make) => make(options).map_err(|e| e.within(plugin.label())),
        _ => Err(mismatch(plugin)),
    }
}

/// Makes the optimizer called `name`.
#[cfg(feature = "torch")]
pub fn optimizer(name: &str, options: &Value) -> Result<Box<dyn Optimizer>> {
    let plugin = find(Kind::Optimizer, name)?;
    match plugin.factory {
        Factory::Optimizer(make) => make(options).map_err(|e| e.within(plugin.label())),
        _ => Err(mismatch(plugin)),
    }
}

/// Makes the sharder called `name` for this process.
#[cfg(feature = "torch")]
pub fn sharder(name: &str, options: &Value, placement: Placement) -> Result<Box<dyn Sharder>> {
    let plugin = find(Kind::Sharder, name)?;
    match plugin.factory {
        Factory::Sharder(make) => make(options, placement).map_err(|e| e.within(plugin.label())),
        _ => Err(mismatch(plugin)),
    }
}

fn mismatch(plugin: &Plugin) -> Error {
    Error::new(format!("{} is registered with a constructor of another kind", plugin.label()))
}

/// The schema of one options type, as a function pointer for [`Plugin::schema`].
pub fn schema<T: Options>() -> Schema {
    options::schema::<T>()
}

/// Registers a plugin: kind, name, options type, constructor, and optionally its version and primary option.
///
/// ```ignore
/// psann_core::register!(Source, "jsonl", JsonlOptions, Jsonl::new, primary = "path");
/// psann_core::register!(Stage, "pretrain", PretrainOptions);
/// ```
#[macro_export]
macro_rules! register {
    ($kind:ident, $name:literal, $options:ty $(, version = $version:literal)? $(, primary = $primary:literal)?) => {
        $crate::register!(@submit $kind, $name, $options, $crate::registry::Factory::Engine
            $(, version = $version)? $(, primary = $primary)?);
    };
    (Sharder, $name:literal, $options:ty, $new:expr $(, version = $version:literal)? $(, primary = $primary:literal)?) => {
        $crate::register!(@submit Sharder, $name, $options, $crate::registry::Factory::Sharder(|value, placement| {
            Ok(Box::new($new($crate::options::parse::<$options>(value)?, placement)?))
        }) $(, version = $version)? $(, primary = $primary)?);
    };
    ($kind:ident, $name:literal, $options:ty, $new:expr $(, version = $version:literal)? $(, primary = $primary:literal)?) => {
        $crate::register!(@submit $kind, $name, $options, $crate::registry::Factory::$kind(&|value| {
            Ok(Box::new($new($crate::options::parse::<$options>(value)?)?))
        }) $(, version = $version)? $(, primary = $primary)?);
    };
    (@submit $kind:ident, $name:literal, $options:ty, $factory:expr $(, version = $version:literal)? $(, primary = $primary:literal)?) => {
        $crate::inventory::submit! {
            $crate::registry::Plugin {
                kind: $crate::registry::Kind::$kind,
                name: $name,
                version: $crate::register!(@or 1 $(, $version)?),
                primary: $crate::register!(@option $($primary)?),
                schema: &$crate::registry::schema::<$options>,
                factory: $factory,
                origin: None,
            }
        }
    };
    (@or $default:literal) => { $default };
    (@or $default:literal, $value:literal) => { $value };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}
