//! `psann plugin VERB`, and the flags of every verb that uses plugins.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Where plugins of others come from, and whether they may.
#[derive(Debug, Clone, Default, Args)]
pub struct PluginFlags {
    /// Look for plugins here first; may be given several times
    #[arg(long = "plugin-dir", value_name = "DIR", global = true)]
    pub plugin_dirs: Vec<PathBuf>,
    /// Use no plugins but those that are part of psann
    #[arg(long, global = true)]
    pub no_plugins: bool,
}

/// `psann plugin`.
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// What to do
    #[command(subcommand)]
    pub command: PluginCommand,
    /// Plugins
    #[command(flatten)]
    pub flags: PluginFlags,
}

/// The verbs of `psann plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List sources, filters, tokenizers, models, optimizers, sharders and stages
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with all its options
    Info {
        /// Its name, or `kind/name` where a name means several
        #[arg(value_name = "NAME")]
        name: String,
        /// Print JSON (the schema)
        #[arg(long)]
        json: bool,
    },
    /// Make the beginnings of a plugin: code, a test, and how to go on
    New {
        /// Its name, such as `hello-source`; also the folder
        #[arg(value_name = "NAME")]
        name: String,
        /// What it is to be
        #[arg(long, value_enum, value_name = "KIND")]
        kind: PluginKind,
        /// What it is to be written in
        #[arg(long, value_enum, value_name = "LANG", default_value_t = Language::Rust)]
        lang: Language,
        /// Its id in recipes, such as `org.hello`; its name if not given
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// The folder of psann-sdk; by default the one that this psann was built with
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Hold a library to all that psann needs of plugins, in a process of its own
    Check {
        /// The library
        #[arg(value_name = "LIBRARY")]
        library: PathBuf,
        /// Options of a source or filter in it, as JSON (`sqlite={"path": "a.db"}`)
        #[arg(long = "options", value_name = "NAME=JSON", value_parser = super::assignment)]
        options: Vec<(String, String)>,
        /// Do it in this process, where a crash of the library is one of psann
        #[arg(long, hide = true)]
        here: bool,
    },
    /// Look for plugins, and ask those that are new who they are, each in a process of its own
    Scan {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust a plugin: recipes of this folder may use it as long as its files stay the same
    Allow {
        /// Its id, or its file's name (`hello-source` for `libhello_source.so`)
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Trust a plugin no more
    Forget {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Open a library and say who it is: what `scan` starts
    #[command(hide = true)]
    Inspect {
        /// The library
        library: PathBuf,
    },
}

/// What a new plugin is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PluginKind {
    /// Where documents come from
    Source,
    /// What is kept of them
    Filter,
}

/// What a new plugin is to be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A crate with psann-sdk
    Rust,
    /// One file and a header
    C,
    /// A program that writes documents; sources only
    Python,
}
