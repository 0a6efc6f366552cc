//! What is asked about a document, as texts and as ids.

use psann_core::{Error, Result};

use super::super::prompt::{self, Ending, Format, Message, Parts, Prompt};
use super::super::task::{Output, Question};
use super::{Argument, Asked, Document, Key, Planned, Request, Suite};
use crate::python::text::is_space;

impl Suite<'_> {
    /// The texts of all requests about a document, in order.
    ///
    /// # Errors
    /// When the chat template fails; the message names the task and the document.
    pub fn ask(&self, key: Key) -> Result<Asked> {
        let (planned, document) = self.get(key)?;
        self.arguments(planned, document, usize::MAX).map_err(|error| error.within(place(planned, document)))
    }

    /// The text that the model is given first, for the hash of the prompt.
    pub(super) fn first(&self, key: Key) -> Result<String> {
        let (planned, document) = self.get(key)?;
        let asked = self.arguments(planned, document, 1).map_err(|error| error.within(place(planned, document)))?;
        Ok(asked.arguments.first().map(|argument| argument.first().to_owned()).unwrap_or_default())
    }

    /// The requests about a document, in order. They are made anew at each call; the same ones each time.
    ///
    /// # Errors
    /// As [`Self::ask`], and when a text does not fit the model or needs a token that the tokenizer does not have.
    pub fn requests(&self, key: Key) -> Result<Vec<Request>> {
        let (planned, document) = self.get(key)?;
        let asked = self.ask(key)?;
        // The choices of a question have one context, which is encoded once.
        let mut last: Option<(String, Vec<u32>)> = None;
        let mut context_ids = |context: &str| match &last {
            Some((text, ids)) if text == context => Ok(ids.clone()),
            _ => Ok(last.insert((context.to_owned(), self.encoder.context(context)?)).1.clone()),
        };
        let encoder = &self.encoder;
        let request = |argument: &Argument| {
            Ok(match argument {
                Argument::Pair { context, continuation } => {
                    Request::Score(encoder.scored_behind(context, context_ids(context)?, continuation)?)
                }
                Argument::Whole { text } => Request::Rolling { windows: encoder.rolling(text)? },
                Argument::Prompt { context, generation } => {
                    let (context, dropped) = encoder.prompt(context, generation.tokens)?;
                    Request::Generate { context, dropped, stop: generation.until.clone(), tokens: generation.tokens }
                }
            })
        };
        let requests: Result<Vec<Request>> = asked.arguments.iter().map(request).collect();
        requests.map_err(|error| error.within(place(planned, document)))
    }

    /// The conversation that the chat template is given for the first request about a document, and how its text ends;
    /// `None` where there is no question in it.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn conversation(&self, key: Key) -> Result<Option<(Vec<Message>, Ending)>> {
        let (planned, document) = self.get(key)?;
        let Some(question) = document.question.contexts().first() else { return Ok(None) };
        let examples = Self::examples(planned, document);
        let parts = self.parts(document, &examples, question);
        let ending = if document.answer_prefix.is_empty() { Ending::Answer } else { Ending::Continued };
        Ok(Some((prompt::messages(parts, planned.task.settings(), self.options.format), ending)))
    }

    fn examples(planned: &Planned, document: &Document) -> Vec<(String, Option<String>)> {
        document.draw.rows.iter().filter_map(|row| planned.examples.get(row).cloned()).collect()
    }

    fn parts<'p>(
        &'p self,
        document: &'p Document,
        examples: &'p [(String, Option<String>)],
        question: &'p str,
    ) -> Parts<'p> {
        Parts {
            instruction: self.options.system_instruction.as_deref().unwrap_or_default(),
            description: &document.description,
            examples,
            question,
            answer_prefix: &document.answer_prefix,
        }
    }

    /// What the scored texts of the document begin with: the delimiter, which chat markup makes superfluous.
    pub(super) fn delimiter<'p>(&self, planned: &'p Planned, document: &Document) -> &'p str {
        let prefix = &document.answer_prefix;
        let open = !prefix.is_empty() && !prefix.ends_with(is_space);
        if self.options.format == Format::Plain || open { &planned.task.settings().target_delimiter } else { "" }
    }

    fn arguments(&self, planned: &Planned, document: &Document, most: usize) -> Result<Asked> {
        let examples = Self::examples(planned, document);
        let mut without_system = 0;
        let mut prompt = |question: &str| -> Result<String> {
            let parts = self.parts(document, &examples, question);
            let Prompt { text, without_system: without } =
                prompt::prompt(parts, planned.task.settings(), self.options.format, self.renderer)?;
            without_system += usize::from(without);
            Ok(text)
        };
        let delimiter = self.delimiter(planned, document);
        let arguments = match &document.question {
            Question::Choices { context, choices, .. } => {
                let context = prompt(context)?;
                let pair = |choice: &String| Argument::Pair {
                    context: context.clone(),
                    continuation: format!("{delimiter}{choice}"),
                };
                choices.iter().take(most).map(pair).collect()
            }
            Question::Contexts { contexts, ending, .. } => {
                let continuation = format!("{delimiter}{ending}");
                let pair = |context: &String| {
                    Ok(Argument::Pair { context: prompt(context)?, continuation: continuation.clone() })
                };
                contexts.iter().take(most).map(pair).collect::<Result<_>>()?
            }
            Question::Continuation { context, target } => {
                vec![Argument::Pair { context: prompt(context)?, continuation: target.clone() }]
            }
            Question::Rolling { text, .. } => vec![Argument::Whole { text: text.clone() }],
            Question::Open { context, .. } => {
                let Output::Generate(generation) = &planned.task.settings().output else {
                    return Err(Error::new("a task that generates nothing asks an open question"));
                };
                vec![Argument::Prompt { context: prompt(context)?, generation: generation.clone() }]
            }
        };
        Ok(Asked { arguments, without_system })
    }
}

fn place(planned: &Planned, document: &Document) -> String {
    format!("task `{}`, document {}", planned.name(), document.id)
}
