//! State dicts: named tensors of a file, checked against a model before the first number is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use psann_core::{Error, Model, Result, suggest};
use tch::Tensor;

use super::archive::Archive;
use super::pickle::{Document, TensorRef, Value};
use super::{names, tensors};

/// Named tensors.
#[derive(Debug)]
pub struct StateDict {
    /// What it is called in the file, for messages.
    place: String,
    tensors: BTreeMap<String, Rc<TensorRef>>,
    /// Names in the order of the file, which is that of the optimizer's state.
    order: Vec<String>,
}

impl StateDict {
    /// The state dict `value` of `document`, without the prefixes of wrappers.
    pub fn new(document: &Document, value: &Value, path: &Path, field: &str) -> Result<Self> {
        let place =
            if field.is_empty() { format!("`{}`", path.display()) } else { format!("`{}`: `{field}`", path.display()) };
        let entries = document
            .entries(value)
            .filter(|entries| !entries.is_empty())
            .ok_or_else(|| Error::new(format!("{place} holds no tensors, but {}", value.describe())))?;
        let (mut tensors, mut order) = (BTreeMap::new(), Vec::with_capacity(entries.len()));
        for (key, value) in entries {
            let Some(key) = key.text() else {
                return Err(Error::new(format!("{place} has a key that is no name, but {}", key.describe())));
            };
            let Value::Tensor(tensor) = value else {
                return Err(Error::new(format!("{place}: `{key}` is {}, expected a tensor", value.describe())));
            };
            let name = names::plain(key);
            if tensors.insert(name.clone(), Rc::clone(tensor)).is_some() {
                return Err(Error::new(format!("{place} has two tensors `{name}`")));
            }
            order.push(name);
        }
        Ok(Self { place, tensors, order })
    }

    /// Its names, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[u64]> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..])
    }

    /// The size along `axis` of a tensor that must be there.
    pub fn size(&self, name: &str, axis: usize) -> Result<u64> {
        let shape = self.shape(name).ok_or_else(|| self.missing(name))?;
        shape.get(axis).copied().ok_or_else(|| {
            Error::new(format!("{}: `{name}` has shape {shape:?}, which is no shape of its kind", self.place))
        })
    }

    /// Checks that it has the parameters of `model`, all of them and nothing else, in their shapes.
    pub fn check(&self, model: &dyn Model) -> Result<()> {
        let mut unknown: BTreeMap<&str, &TensorRef> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), &**tensor)).collect();
        for spec in model.segments().iter().flat_map(|segment| &segment.parameters) {
            let tensor = unknown.remove(spec.name.as_str()).ok_or_else(|| self.missing(&spec.name))?;
            if !tensor.shape.iter().map(|size| *size as i64).eq(spec.shape.iter().copied()) {
                return Err(Error::new(format!(
                    "{}: `{}` has shape {:?}, the model needs {:?}",
                    self.place, spec.name, tensor.shape, spec.shape
                )));
            }
        }
        match unknown.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::new(format!("{}: the model has no parameter `{name}`", self.place))
                .hint("the file is of a model with other options")),
        }
    }

    /// Reads the parameters of `model`, in its order, as fp32.
    pub fn read(&self, model: &dyn Model, archive: &mut Archive) -> Result<Vec<(String, Tensor)>> {
        self.check(model)?;
        let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
        specs
            .map(|spec| {
                let tensor = self.tensors.get(&spec.name).ok_or_else(|| self.missing(&spec.name))?;
                Ok((spec.name.clone(), tensors::read(archive, tensor, &spec.name)?))
            })
            .collect()
    }

    fn missing(&self, name: &str) -> Error {
        let error = Error::new(format!("{} has no tensor `{name}`", self.place));
        match suggest::nearest(name, self.tensors.keys().map(String::as_str)) {
            Some(nearest) => error.hint(format!("it has `{nearest}`; is it the file of another model?")),
            None => error.hint("is it the file of another model?"),
        }
    }
}
