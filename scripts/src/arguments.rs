//! What a call was given, gathered into options: from one map, and by place.

use psann_core::options::{Fault, Problem, Schema, Step};
use psann_core::plan::Component;
use rhai::Dynamic;
use serde_json::{Map, Value};

use crate::convert::{self, Converted};

/// The options of one call, with where they came from and what is wrong with them so far.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) options: Map<String, Value>,
    pub(crate) bindings: Bindings,
    /// The tokenizers that models among the options need.
    pub(crate) tokenizers: Vec<Component>,
    problems: Vec<Problem>,
}

/// Which argument of a call holds which options, counted without a method's receiver.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    /// The map of options.
    pub(crate) map: Option<usize>,
    /// Options given by place: the name and the argument.
    pub(crate) named: Vec<(String, usize)>,
}

impl Arguments {
    /// Takes the map of options at `index`. Comes before anything given by place.
    pub(crate) fn take_map(&mut self, index: usize, map: &Dynamic) {
        self.bindings.map = Some(index);
        let converted = convert::to_json(map);
        self.note(&converted, &[]);
        if let Value::Object(options) = converted.value {
            self.options = options;
        }
    }

    /// Takes the argument at `index` as the option `name`.
    pub(crate) fn take_named(&mut self, name: &str, index: usize, argument: &Dynamic) {
        let converted = convert::to_json(argument);
        self.note(&converted, &[Step::Key(name.to_owned())]);
        self.bind(name, index, converted.value);
    }

    /// Takes `value`, made from the component at `index`, as the option `name`.
    pub(crate) fn take_component(&mut self, name: &str, index: usize, component: &Dynamic, value: Value) {
        self.note(&convert::to_json(component), &[]);
        self.bind(name, index, value);
    }

    /// The options, and everything wrong with them. An option that could not be converted is left out: to report it as
    /// mistyped as well would help nobody.
    pub(crate) fn check(&mut self, schema: &Schema) -> (Value, Vec<Problem>) {
        for problem in &self.problems {
            if let Some(Step::Key(key)) = problem.path.first() {
                self.options.remove(key);
            }
        }
        let options = Value::Object(std::mem::take(&mut self.options));
        let mut problems = std::mem::take(&mut self.problems);
        problems.extend(schema.check(&options));
        (options, problems)
    }

    fn note(&mut self, converted: &Converted, within: &[Step]) {
        self.tokenizers.extend(converted.tokenizers.iter().cloned());
        for problem in &converted.problems {
            let path = within.iter().chain(&problem.path).cloned().collect();
            self.problems.push(Problem { path, fault: problem.fault.clone() });
        }
    }

    fn bind(&mut self, name: &str, index: usize, value: Value) {
        if self.options.insert(name.to_owned(), value).is_some() {
            let fault = Fault::Invalid("is given twice".into());
            self.problems.push(Problem { path: vec![Step::Key(name.to_owned())], fault });
        } else {
            self.bindings.named.push((name.to_owned(), index));
        }
    }
}
