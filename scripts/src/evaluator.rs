//! [`Evaluator`]: an engine, what its functions share, and the variables, kept together.
//!
//! A recipe is one text; a session at the prompt is one text that grows, so that a place in it is always a line of
//! the session. Variables, functions and imports of earlier pieces stay.

use std::path::PathBuf;
use std::sync::Arc;

use rhai::{AST, ASTNode, Dynamic, Engine, Expr, Position, Scope, Stmt};

use crate::diagnostics::Diagnostics;
use crate::host::{Host, Script, Site};
use crate::values::{Pipeline, describe};
use crate::{engine, explain};

/// Evaluates texts one after the other.
pub(crate) struct Evaluator {
    pub(crate) engine: Engine,
    pub(crate) host: Arc<Host>,
    pub(crate) scope: Scope<'static>,
}

/// What a text came to, and where its last expression stands.
pub(crate) struct Outcome {
    pub(crate) value: Dynamic,
    pub(crate) site: Site,
}

impl Evaluator {
    pub(crate) fn new(folder: PathBuf, sets: &[(String, String)]) -> Self {
        let host = Arc::new(Host::new(folder, sets.to_vec()));
        Self { engine: engine::new(&host), host, scope: Scope::new() }
    }

    /// Evaluates `text` as the next piece of the script called `name`. Variables that were made before a mistake are
    /// taken back.
    pub(crate) fn evaluate(&mut self, name: &str, text: &str) -> Result<Outcome, Diagnostics> {
        let before = self.scope.clone();
        let parameters = self.host.state().parameters.clone();
        let outcome = self.run(name, text);
        let findings = self.host.take_findings();
        match outcome {
            Some(outcome) if findings.is_empty() => Ok(outcome),
            _ => {
                self.scope = before;
                self.host.state().parameters = parameters;
                Err(Diagnostics::new(findings))
            }
        }
    }

    fn run(&mut self, name: &str, text: &str) -> Option<Outcome> {
        let piece = self.host.begin(name, text);
        let mut ast = match self.engine.compile_with_scope(&self.scope, piece) {
            Ok(ast) => ast,
            Err(error) => {
                explain::parsing(&self.host, &self.engine, name, &error);
                return None;
            }
        };
        ast.set_source(name);
        self.host.compiled(name, ast.clone());
        match self.engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, &ast) {
            Ok(value) => Some(Outcome { value, site: last_site(name, &ast) }),
            Err(error) => {
                explain::running(&self.host, name, &error);
                None
            }
        }
    }

    /// Makes the functions and imports of the last piece of `name` known to the pieces after it.
    pub(crate) fn keep(&mut self, name: &str) {
        let Some(ast) = self.host.asts(name).pop() else { return };
        if ast.has_functions() {
            self.engine.register_global_module(ast.shared_lib().clone());
        }
        for statement in ast.statements() {
            if let Stmt::Import(import, position) = statement
                && let (Expr::StringConstant(path, _), alias) = (&import.0, &import.1.name)
                && !alias.is_empty()
                && let Ok(module) = self.engine.module_resolver().resolve(&self.engine, Some(name), path, *position)
            {
                self.engine.register_static_module(alias.as_str(), module);
            }
        }
    }

    /// The pipeline that a recipe ends with.
    pub(crate) fn pipeline(&self, outcome: &Outcome) -> Result<Pipeline, Diagnostics> {
        if let Some(pipeline) = outcome.value.read_lock::<Pipeline>() {
            return Ok(pipeline.clone());
        }
        let found = describe(&outcome.value);
        let help = "end it with a pipeline, as in `pipeline(name).prepare(text).pretrain(lm, #{ … })`";
        self.host.report(
            format!("the recipe does not end with a pipeline, but with {found}"),
            Some(help.into()),
            vec![outcome.site.clone().label("the last statement")],
        );
        Err(Diagnostics::new(self.host.take_findings()))
    }
}

impl Host {
    /// Adds a piece to the script called `name` and returns it with empty lines in front, so that its places are
    /// those of the whole script.
    fn begin(&self, name: &str, text: &str) -> String {
        let mut state = self.state();
        state.round += 1;
        state.started = std::time::Instant::now();
        let script =
            state.scripts.entry(name.to_owned()).or_insert_with(|| Script { text: "".into(), asts: Vec::new() });
        let lines = script.text.matches('\n').count();
        let separator = if text.ends_with('\n') { "" } else { "\n" };
        script.text = format!("{}{text}{separator}", script.text).into();
        format!("{}{text}", "\n".repeat(lines))
    }

    fn compiled(&self, name: &str, ast: AST) {
        if let Some(script) = self.state().scripts.get_mut(name) {
            script.asts.push(ast);
        }
    }
}

/// Where the last statement begins.
fn last_site(name: &str, ast: &AST) -> Site {
    let position = ast.statements().last().map_or(Position::START, |statement| match statement {
        Stmt::Expr(expression) => expression.start_position(),
        other => ASTNode::from(other).position(),
    });
    Site { script: name.to_owned(), position }
}
