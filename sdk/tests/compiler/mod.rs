//! The C and C++ compilers of this machine, as the tests call them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A language, and how strictly it is compiled here.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    C11,
    #[allow(dead_code, reason = "each test is a program of its own and uses a part of this")]
    Cpp17,
}

/// The folder that `psann.h` lies in.
pub fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// The compiler of a language, with every warning an error, ready for inputs.
pub fn strict(language: Language) -> Command {
    let (variable, usual, standard) = match language {
        Language::C11 => ("CC", "cc", "-std=c11"),
        Language::Cpp17 => ("CXX", "c++", "-std=c++17"),
    };
    let mut command = Command::new(env::var_os(variable).unwrap_or_else(|| usual.into()));
    command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic"]).arg("-I").arg(include());
    command
}

/// Runs a compiler; its messages are those of the failure.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start a compiler: {e}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
