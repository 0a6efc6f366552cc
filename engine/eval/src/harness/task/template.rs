//! How a user's task words things: a column, a template, or a list.
//!
//! As in the task files of lm-evaluation-harness, a text that is the name of a column stands for that column's value, and
//! any other text is a template over the columns. A template that is one expression keeps its type, so that
//! `{{ [sol1, sol2] }}` is a list and `{{ answer - 1 }}` a number.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;
use psann_core::{Error, Result};
use serde_json::Value;

use super::Fields;

/// Steps that one template may take; a document's text is data and not to be trusted.
const FUEL: u64 = 1_000_000;

/// A text that depends on a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(String);

impl Template {
    /// Of the option `name`.
    ///
    /// # Errors
    /// When it is no template: the message says where.
    pub fn new(name: &str, source: &str) -> Result<Self> {
        environment().template_from_str(source).map_err(|error| {
            let line = error.line().map_or(String::new(), |line| format!(" in its line {line}"));
            let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            Error::usage(format!("option `{name}` is no template{line}: {why}"))
        })?;
        Ok(Self(source.to_owned()))
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Its value for a document.
    ///
    /// # Errors
    /// When it names a column that is not there or does what cannot be done.
    pub fn value(&self, document: &Fields) -> Result<Value> {
        document.get(&self.0).map_or_else(|| self.filled(document), |value| Ok(value.clone()))
    }

    /// Its value as a template, even where it is spelled as a column is.
    ///
    /// # Errors
    /// As [`Self::value`].
    pub fn filled(&self, document: &Fields) -> Result<Value> {
        let environment = environment();
        let failed = |error: minijinja::Error| self.failed(&environment, document, &error);
        if let Some(expression) = self.expression()
            && let Ok(expression) = environment.compile_expression(expression)
        {
            let value = expression.eval(Serde(document)).map_err(failed)?;
            if value.is_undefined() {
                return Err(failed(ErrorKind::UndefinedError.into()));
            }
            return serde_json::to_value(&value).map_err(|error| Error::new("a template has no value").because(error));
        }
        environment.render_str(&self.0, Serde(document)).map(Value::String).map_err(failed)
    }

    /// Its value as a text.
    ///
    /// # Errors
    /// As [`Self::value`].
    pub fn text(&self, document: &Fields) -> Result<String> {
        Ok(crate::python::json::text(&self.value(document)?))
    }

    fn failed(&self, environment: &Environment<'_>, document: &Fields, error: &minijinja::Error) -> Error {
        let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        if error.kind() != ErrorKind::UndefinedError {
            return Error::new(format!("template `{}` cannot be filled: {why}", self.0));
        }
        let named = environment.template_from_str(&self.0).map(|template| template.undeclared_variables(false));
        let mut absent: Vec<String> =
            named.unwrap_or_default().into_iter().filter(|name| !document.contains_key(name)).collect();
        absent.sort();
        let columns = document.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
        let what = if absent.is_empty() {
            "asks a column for what it does not have".to_owned()
        } else {
            format!("names `{}`, which is no column", absent.join("`, `"))
        };
        Error::new(format!("template `{}` {what}", self.0)).hint(format!("its columns are `{columns}`"))
    }

    /// What stands between the braces, if that is all there is.
    fn expression(&self) -> Option<&str> {
        let inner = self.0.strip_prefix("{{")?.strip_suffix("}}")?;
        (!inner.contains("{{") && !inner.contains("}}") && !inner.starts_with('-') && !inner.ends_with('-'))
            .then_some(inner)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // Only contradicting delimiters can fail, and none are set.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(source: &str) -> Result<Value> {
        let row = json!({"text": "one two  three", "label": 1, "sol1": "a", "sol2": "b"});
        Template::new("doc_to_text", source)?.value(row.as_object().unwrap())
    }

    #[test]
    fn a_text_is_a_column_an_expression_or_a_template() {
        assert_eq!(value("label").unwrap(), json!(1));
        assert_eq!(value("{{label}}").unwrap(), json!(1));
        assert_eq!(value("{{[sol1, sol2]}}").unwrap(), json!(["a", "b"]));
        assert_eq!(value("Q: {{sol1}}\n{{sol2}}\n").unwrap(), json!("Q: a\nb\n"));
        assert_eq!(value("{{text.split(' ')[:-1]|join(' ')}}").unwrap(), json!("one two "));
        assert_eq!(value("{{' '+text.split(' ')[-1]}}").unwrap(), json!(" three"));
        assert_eq!(value("<{{sol1}}>").unwrap(), json!("<a>"));
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong() {
        insta::assert_snapshot!(value("Q: {{ question }}").unwrap_err(), @"template `Q: {{ question }}` names `question`, which is no column");
        insta::assert_snapshot!(value("{{ question }}").unwrap_err(), @"template `{{ question }}` names `question`, which is no column");
        insta::assert_snapshot!(value("Q: {{ sol1 ").unwrap_err(), @"option `doc_to_text` is no template in its line 1: unexpected end of input, expected end of variable block");
    }
}
