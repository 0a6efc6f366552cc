//! What is asked of a model: tasks with their documents, and how prompts are written.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result, Tokenizer};
use psann_data::tokenizer::TextTokenizer;
use psann_eval::answer::AnswerOptions;
use psann_eval::chat::Templates;
use psann_eval::evaluate::EvaluateOptions;
use psann_eval::harness::{ChatRenderer, Encoder, Format, Suite, SuiteOptions};

use super::Sources;
use crate::run::chat_templates;

/// Everything that is asked, before it is planned for a tokenizer.
pub struct Questions {
    pub(super) sources: Sources,
    options: SuiteOptions,
    templates: Option<Templates>,
    max_length: usize,
    /// Documents computed at once.
    pub(super) batch: u64,
}

impl Questions {
    /// Reads tasks and documents. `max_length` is the most tokens that the model reads, unless the options say;
    /// `template` is a file with a chat template to use in place of the tokenizer's.
    ///
    /// # Errors
    /// Names the task, file and line that is not as it should be; options that exclude each other.
    pub fn new(
        options: &EvaluateOptions,
        suite: SuiteOptions,
        tokenizer: &TextTokenizer,
        max_length: u64,
        template: Option<&Path>,
    ) -> Result<Self> {
        let data: Vec<PathBuf> = options.data.iter().map(PathBuf::from).collect();
        let sources = Sources::read(&options.tasks, &data, suite.shots)?;
        let templates = if suite.format == Format::Plain {
            None
        } else {
            let found = chat_templates(tokenizer, template)?;
            Some(found.ok_or_else(|| {
                Error::usage("the tokenizer has no chat template")
                    .hint("put a `chat_template.jinja` beside its `tokenizer.json`")
            })?)
        };
        let max_length = options.context.map_or(max_length, |context| context.0) as usize;
        Ok(Self { sources, options: suite, templates, max_length, batch: options.batch })
    }

    /// Plans the suite: everything that is drawn is drawn here.
    ///
    /// # Errors
    /// Names the row that is not as its task needs it.
    pub fn suite<'a>(&'a self, tokenizer: &'a dyn Tokenizer) -> Result<Suite<'a>> {
        let encoder = Encoder::new(tokenizer, self.max_length)?;
        let templates = self.templates.as_ref().map(|templates| templates as &dyn ChatRenderer);
        Suite::new(self.sources.tasks()?, self.options.clone(), encoder, templates)
    }

    /// How the suite is computed.
    pub fn answering(&self) -> AnswerOptions {
        AnswerOptions { batch: self.batch as usize, ..AnswerOptions::default() }
    }

    /// The text of the chat template, where prompts are written with one.
    pub(super) fn chat_template(&self) -> Option<&str> {
        self.templates.as_ref().map(Templates::source)
    }
}
