//! The `psann` program: parse, call, print.
//!
//! Everything a user sees is written here: results on standard output, progress and messages on standard error.
//! The rooms below return data and errors; they know no terminal.

use std::process::ExitCode;

use clap::Parser;
// Linking a plugin crate is what registers its plugins.
use psann_plugins_data as _;
use psann_plugins_nn as _;

mod cli;
mod commands;
mod display;
mod evaluation;
mod launch;
mod plugins;
mod progress;
mod run;
mod stop;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            display::failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
