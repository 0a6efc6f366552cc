//! `psann repl`: the recipe language at a prompt. Without a terminal it reads lines, so a session can be a file.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use psann_core::{Error, Result};
use psann_scripts::{Recipe, Session};
use reedline::{
    FileBackedHistory, Prompt, PromptEditMode, PromptHistorySearch, Reedline, Signal, ValidationResult, Validator,
};

use crate::cli::ReplArgs;
use crate::display::{self, Failure};
use crate::plugins;
use crate::run::overview;

const HELP: &str = "\
type recipe code; the value of each line is shown and kept in `it`
  :help          this text
  :params        parameters declared so far, with their values
  :plan          the plan of the last pipeline
  :set NAME=VALUE  set a parameter or an option of the plan
  :load FILE     load a recipe
  :quit          leave (Ctrl-D does too)
an unfinished expression goes on in the next line; two empty lines end it
";

/// Reads, evaluates and prints until the input ends or `:quit`.
pub fn execute(args: &ReplArgs) -> Result<(), Failure> {
    plugins::register(&args.plugins)?;
    let mut session = Session::new();
    if let Some(file) = &args.file {
        let shown = session.load(&Recipe::load(file)?)?;
        show(&shown);
    }
    if std::io::stdin().is_terminal() {
        interactive(&mut session)?;
    } else {
        piped(&mut session)?;
    }
    Ok(())
}

/// What the loop does after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Quit,
}

fn interactive(session: &mut Session) -> Result<()> {
    let mut editor = Reedline::create().with_validator(Box::new(WholeExpressions));
    if let Some(path) = history_path() {
        // A prompt without memory is better than none.
        if let Ok(history) = FileBackedHistory::with_file(1000, path) {
            editor = editor.with_history(Box::new(history));
        }
    }
    display::result(&format!("psann {} · :help", env!("CARGO_PKG_VERSION")));
    loop {
        match editor.read_line(&Arrow).map_err(|e| Error::new("cannot read from the terminal").because(e))? {
            Signal::Success(line) => {
                let next = turn(session, &line);
                if next == Next::Quit {
                    return Ok(());
                }
            }
            Signal::CtrlD => return Ok(()),
            // Ctrl-C drops the line, as in any shell.
            _ => {}
        }
    }
}

fn piped(session: &mut Session) -> Result<()> {
    let mut pending = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::new("cannot read standard input").because(e))?;
        pending.push_str(&line);
        pending.push('\n');
        if !pending.trim_start().starts_with(':') && !Session::is_complete(&pending) {
            continue;
        }
        if turn(session, &std::mem::take(&mut pending)) == Next::Quit {
            return Ok(());
        }
    }
    if !pending.trim().is_empty() {
        turn(session, &pending);
    }
    Ok(())
}

fn turn(session: &mut Session, input: &str) -> Next {
    let input = input.trim();
    if input.is_empty() {
        return Next::Continue;
    }
    let Some(command) = input.strip_prefix(':') else {
        match session.evaluate(input) {
            Ok(shown) => show(&shown),
            Err(diagnostics) => display::failure(&diagnostics.into()),
        }
        return Next::Continue;
    };
    let (word, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    match run_command(session, word, argument.trim()) {
        Ok(next) => next,
        Err(failure) => {
            display::failure(&failure);
            Next::Continue
        }
    }
}

fn run_command(session: &mut Session, word: &str, argument: &str) -> Result<Next, Failure> {
    match word {
        "help" | "h" => display::result(HELP),
        "quit" | "q" | "exit" => return Ok(Next::Quit),
        "params" => {
            let mut plan = psann_core::plan::Plan::new("");
            plan.parameters = session.parameters();
            display::result(&overview::parameters(&plan));
        }
        "plan" => match session.plan() {
            Some(plan) => display::result(&overview::text(&plan, &PathBuf::from("runs"))?),
            None => display::result("no pipeline yet: write one that starts with `pipeline(\"name\")`"),
        },
        "set" => {
            let (name, value) = argument
                .split_once('=')
                .ok_or_else(|| Error::usage("`:set` takes NAME=VALUE").hint("for example `:set steps=50`"))?;
            let shown = session.set(name.trim(), value.trim())?;
            show(&shown);
        }
        "load" if !argument.is_empty() => {
            let shown = session.load(&Recipe::load(argument)?)?;
            show(&shown);
        }
        _ => return Err(Error::usage(format!("no command is called `:{word}`")).hint("`:help` lists them").into()),
    }
    Ok(Next::Continue)
}

fn show(text: &str) {
    if !text.is_empty() {
        display::result(text);
    }
}

/// One history for all sessions, in the user's state folder.
fn history_path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("psann").join("history"))
}

/// Goes on reading while an expression is open; two empty lines submit it anyway, should the judgement be wrong.
struct WholeExpressions;

impl Validator for WholeExpressions {
    fn validate(&self, line: &str) -> ValidationResult {
        if line.starts_with(':') || line.ends_with("\n\n") || Session::is_complete(line) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// `> `, and `. ` for lines that go on.
struct Arrow;

impl Prompt for Arrow {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        "> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        ". ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(search: {}) ", search.term).into()
    }
}
