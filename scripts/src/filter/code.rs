//! From the text of a closure to what runs.
//!
//! The body runs as a script of its own: that is faster than a call, and `return` works the same. The parameter in front
//! is blanked, not cut off, so that every place is one of the text as the recipe has it. What Rhai would find out only
//! on the first document that gets there (an unknown function or property) is looked for here.

use std::collections::BTreeSet;

use psann_core::suggest;
use rhai::{AST, ASTFlags, ASTNode, Engine, Expr, Position, Scope, Stmt};

use super::document::{FORBIDDEN, PROPERTIES};

/// What the document is called in code that is no closure.
const DOCUMENT: &str = "doc";

/// Functions that are part of the language.
const LANGUAGE: [&str; 7] = ["call", "curry", "type_of", "is_def_var", "is_def_fn", "is_shared", "Fn"];

/// The optional columns, the one a filter is most likely about first.
const COLUMNS: [&str; 4] = ["url", "meta", "source", "id"];

/// Compiled code and what can be told from its text.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) ast: AST,
    /// What it calls the document.
    pub(super) parameter: String,
    /// The strings that it may give as reasons.
    pub(super) reasons: BTreeSet<String>,
    /// The optional column that it reads.
    pub(super) column: Option<&'static str>,
}

/// What is wrong with code, and where in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) position: Position,
}

impl Fault {
    fn new(message: impl Into<String>, hint: Option<String>, position: Position) -> Self {
        Self { message: message.into(), hint, position }
    }
}

/// Compiles `text`, which may use what is in `scope`.
pub(super) fn compile(engine: &Engine, scope: &Scope, text: &str) -> Result<Code, Fault> {
    if text.trim().is_empty() {
        let hint = "write a closure, as in `filter::rhai(|doc| doc.words >= 50)`";
        return Err(Fault::new("there is no code", Some(hint.into()), Position::NONE));
    }
    let (parameter, body) = split(text)?;
    let mut scope = scope.clone();
    scope.push(parameter.as_str(), ());
    let ast = engine.compile_with_scope(&scope, &body).map_err(|error| parsing(&scope, text, &error))?;
    let mut outline = Outline::of(&ast);
    outline.check(engine, &ast, &parameter)?;
    returned_by_block(ast.statements(), &mut outline.reasons);
    let column = COLUMNS.into_iter().find(|column| outline.properties.iter().any(|(_, name, _)| name == column));
    Ok(Code { ast, parameter, reasons: outline.reasons, column })
}

/// Why code does not compile.
fn parsing(scope: &Scope, text: &str, error: &rhai::ParseError) -> Fault {
    let position = error.position();
    let rest = &text[crate::text::offset(text, position)..];
    if let Some(word) = FORBIDDEN.iter().chain(&["eval"]).find(|word| rest.starts_with(**word)) {
        let hint = "a filter sees one document and gives a verdict; it can neither read nor write anything else";
        return Fault::new(format!("`{word}` cannot be used in a filter"), Some(hint.into()), position);
    }
    match error.err_type() {
        rhai::ParseErrorType::VariableUndefined(name) => {
            let known = scope.iter_raw().map(|(name, ..)| name).collect::<Vec<_>>();
            let hint = match suggest::nearest(name, known.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known here: `{}`", known.join("`, `")),
            };
            Fault::new(format!("unknown variable `{name}`"), Some(hint), position)
        }
        other => Fault::new(other.to_string(), None, position),
    }
}

/// The parameter of a closure, and its body with spaces in front.
fn split(text: &str) -> Result<(String, String), Fault> {
    let start = text.len() - text.trim_start().len();
    let Some(rest) = text[start..].strip_prefix('|') else { return Ok((DOCUMENT.to_owned(), text.to_owned())) };
    let position = Position::new(1, 1);
    let Some(end) = rest.find('|') else {
        return Err(Fault::new("the closure's parameter has no `|` behind it", None, position));
    };
    let parameter = rest[..end].trim();
    let is_name = parameter.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && parameter.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(Fault::new(
            format!("the closure takes `|{parameter}|`, and gets one document"),
            Some("write `|doc| …`".into()),
            position,
        ));
    }
    let head = start + 1 + end + 1;
    let blank: String = text[..head].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    Ok((parameter.to_owned(), blank + &text[head..]))
}

/// What stands in the code, by kind.
#[derive(Debug, Default)]
struct Outline {
    /// The variable, its property, and where.
    properties: Vec<(String, String, Position)>,
    /// Functions and methods that are called.
    calls: Vec<(String, Position)>,
    /// Names with a path in front: `global::LIMIT`.
    paths: Vec<(String, Position)>,
    /// Variables made in the code, parameters of closures included.
    names: BTreeSet<String>,
    /// Strings given by `return` and `break`.
    reasons: BTreeSet<String>,
}

impl Outline {
    fn of(ast: &AST) -> Self {
        let mut outline = Self::default();
        ast.walk(&mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Expr(expression)) => outline.note_expression(expression),
                Some(ASTNode::Stmt(statement)) => outline.note_statement(statement),
                _ => {}
            }
            true
        });
        for function in ast.iter_fn_def() {
            outline.names.extend(function.params.iter().map(ToString::to_string));
            outline.names.insert(function.name.to_string());
        }
        outline
    }

    fn note_expression(&mut self, expression: &Expr) {
        match expression {
            Expr::Dot(pair, ..) => {
                // `doc.meta.lang` is `doc . (meta . lang)`.
                let first = match &pair.rhs {
                    Expr::Dot(rest, ..) | Expr::Index(rest, ..) => &rest.lhs,
                    other => other,
                };
                if let (Expr::Variable(variable, ..), Expr::Property(property, position)) = (&pair.lhs, first) {
                    self.properties.push((variable.1.to_string(), property.2.to_string(), *position));
                }
            }
            Expr::FnCall(call, position) | Expr::MethodCall(call, position) => self.note_call(call, *position),
            Expr::Variable(variable, ..) if !variable.2.is_empty() => {
                self.paths.push((format!("{}::{}", variable.2, variable.1), variable.2.position()));
            }
            _ => {}
        }
    }

    fn note_call(&mut self, call: &rhai::FnCallExpr, position: Position) {
        if !call.namespace.is_empty() {
            self.paths.push((format!("{}::{}", call.namespace, call.name), call.namespace.position()));
        } else if call.name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            self.calls.push((call.name.to_string(), position));
        }
    }

    fn note_statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::FnCall(call, position) => self.note_call(call, *position),
            Stmt::Var(variable, ..) => {
                self.names.insert(variable.0.name.to_string());
            }
            Stmt::For(parts, ..) => {
                self.names.insert(parts.0.name.to_string());
                self.names.extend(parts.1.iter().map(|counter| counter.name.to_string()));
            }
            // The flag tells `throw` from `return`, and `break` from `continue`.
            Stmt::Return(Some(value), flags, _) if !flags.contains(ASTFlags::BREAK) => {
                returned_by(value, &mut self.reasons);
            }
            Stmt::BreakLoop(Some(value), ..) => returned_by(value, &mut self.reasons),
            _ => {}
        }
    }

    fn check(&self, engine: &Engine, ast: &AST, parameter: &str) -> Result<(), Fault> {
        if let Some((path, position)) = self.paths.first() {
            let name = path.rsplit("::").next().unwrap_or(path);
            let hint =
                format!("put the value into a variable before the closure, as in `let {} = …;`", name.to_lowercase());
            return Err(Fault::new(format!("`{path}` is not there when the filter runs"), Some(hint), *position));
        }
        if !self.names.contains(parameter)
            && let Some((_, name, position)) = self
                .properties
                .iter()
                .find(|(variable, name, _)| variable == parameter && !PROPERTIES.contains(&name.as_str()))
        {
            let hint = match suggest::nearest(name, PROPERTIES) {
                Some(nearest) => format!("did you mean `{parameter}.{nearest}`?"),
                None => format!("a document has `{}`", PROPERTIES.join("`, `")),
            };
            return Err(Fault::new(format!("a document has no `{name}`"), Some(hint), *position));
        }
        let mut known: BTreeSet<String> =
            engine.collect_fn_metadata(None, |info| Some(info.metadata.name.to_string()), true).into_iter().collect();
        known.extend(ast.iter_functions().map(|function| function.name.to_owned()));
        known.extend(LANGUAGE.map(str::to_owned));
        let unknown = self.calls.iter().find(|(name, _)| !known.contains(name) && !self.names.contains(name));
        if let Some((name, position)) = unknown {
            let plain = known.iter().map(String::as_str).filter(|name| name.starts_with(|c: char| c.is_alphabetic()));
            let hint = match suggest::nearest(name, plain.collect::<Vec<_>>()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "functions of the recipe cannot be called here: write the rule into the closure".into(),
            };
            return Err(Fault::new(format!("unknown function `{name}`"), Some(hint), *position));
        }
        Ok(())
    }
}

/// Notes the strings that a block may end with.
fn returned_by_block(statements: &[Stmt], found: &mut BTreeSet<String>) {
    match statements.last() {
        Some(Stmt::Expr(value)) => returned_by(value, found),
        Some(Stmt::Block(block)) => returned_by_block(block.statements(), found),
        Some(Stmt::If(parts, _) | Stmt::TryCatch(parts, _)) => {
            returned_by_block(parts.body.statements(), found);
            returned_by_block(parts.branch.statements(), found);
        }
        Some(Stmt::Switch(parts, _)) => parts.1.expressions.iter().for_each(|case| returned_by(&case.rhs, found)),
        _ => {}
    }
}

/// Notes the strings that an expression may be.
fn returned_by(value: &Expr, found: &mut BTreeSet<String>) {
    match value {
        Expr::StringConstant(text, _) => {
            found.insert(text.to_string());
        }
        Expr::Stmt(block) => returned_by_block(block.statements(), found),
        Expr::Coalesce(parts, _) => parts.iter().for_each(|part| returned_by(part, found)),
        _ => {}
    }
}
