//! One module per verb.

mod bench;
mod data;
mod evaluate;
mod generate;
mod model;
mod plugin;
mod recipe;
mod repl;
mod serve;

use psann_core::registry;

use crate::cli::{Cli, Command};
use crate::display::Failure;

/// Does what the command line says.
pub fn execute(cli: Cli) -> Result<(), Failure> {
    registry::check_unique()?;
    match cli.command {
        Command::Recipe(args) => recipe::execute(args),
        Command::Evaluate(args) => evaluate::execute(&args),
        Command::Generate(args) => generate::execute(&args),
        Command::Serve(args) => serve::execute(&args),
        Command::Model(command) => model::execute(&command),
        Command::Data(args) => data::execute(&args),
        Command::Plugin(args) => plugin::execute(&args),
        Command::Repl(args) => repl::execute(&args),
        Command::Bench(command) => bench::execute(&command),
    }
}
