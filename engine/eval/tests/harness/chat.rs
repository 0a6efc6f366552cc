//! The simple chat templates of the golden set, rendered by minijinja alone.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};
use psann_core::{Error, Tokenizer};
use psann_eval::harness::{ChatRenderer, Ending, Message, RenderError};
use psann_eval::python::text::strip;

pub struct Template {
    environment: Environment<'static>,
    source: String,
    begin: String,
    end: String,
}

impl Template {
    pub fn new(source: &str, tokenizer: &dyn Tokenizer) -> Self {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap());
        environment.add_filter("trim", |text: &str| strip(text).to_owned());
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.spelling(id)).unwrap_or_default();
        let special = tokenizer.special();
        Self { environment, source: source.to_owned(), begin: spelled(special.bos), end: spelled(special.eos) }
    }
}

impl ChatRenderer for Template {
    fn render(&self, messages: &[Message], ending: Ending) -> Result<String, RenderError> {
        if ending == Ending::Continued {
            return Err(RenderError::Failed(Error::new("no golden prompt begins an answer")));
        }
        let messages: Vec<_> = messages
            .iter()
            .map(|message| context! { role => message.role.name(), content => message.content.clone() })
            .collect();
        let variables = context! {
            messages => messages,
            add_generation_prompt => ending == Ending::Answer,
            bos_token => self.begin.clone(),
            eos_token => self.end.clone(),
        };
        self.environment
            .render_str(&self.source, variables)
            .map_err(|error| RenderError::Raised(error.detail().unwrap_or_default().to_owned()))
    }
}
