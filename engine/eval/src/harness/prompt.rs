//! A document's question with what stands before it: instructions, examples, chat markup.
//!
//! Plain prompts are one text: instructions, examples with delimiters between and behind, the question. With a chat
//! template the examples are turns of their own (multi-turn), where no delimiter is written, or all of it is the text of
//! one turn (single-turn), written as the plain prompt is. The template writes everything else.

use psann_core::{Error, Result};
use serde_json::json;

use super::task::Settings;
use crate::chat::{Conversation, Rendering, TemplateFailure, Templates};

/// How prompts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Without a chat template.
    Plain,
    /// With the examples as turns.
    MultiTurn,
    /// With everything in one turn.
    SingleTurn,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The instructions.
    System,
    /// Who asks.
    User,
    /// Who answers.
    Assistant,
}

impl Role {
    /// As templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// How a rendered conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Where the assistant's answer begins (`add_generation_prompt`).
    Answer,
    /// Inside the last message, which is the beginning of the answer (`continue_final_message`).
    Continued,
    /// Behind the last message.
    Closed,
}

/// What writes a conversation in a model's markup.
pub trait ChatRenderer: Sync {
    /// The text of `messages`.
    ///
    /// # Errors
    /// Tells apart what the template refuses and what cannot be done.
    fn render(&self, messages: &[Message], ending: Ending) -> Result<String, RenderError>;
}

/// Why a conversation has no text.
#[derive(Debug)]
pub enum RenderError {
    /// The template raised, or used what is not there; with this message. Many refuse system messages so.
    Raised(String),
    /// Anything else.
    Failed(Error),
}

impl ChatRenderer for Templates {
    /// The date in it is that of the templates' making: a prompt is the same whenever it is asked for.
    fn render(&self, messages: &[Message], ending: Ending) -> Result<String, RenderError> {
        let message = |message: &Message| json!({ "role": message.role.name(), "content": message.content });
        let conversation = Conversation::new(messages.iter().map(message).collect(), self.made());
        let how = match ending {
            Ending::Answer => Rendering::Prompt,
            Ending::Continued => Rendering::Continue,
            Ending::Closed => Rendering::Plain,
        };
        Templates::render(self, conversation, how).map(|rendered| rendered.text).map_err(|error| {
            match TemplateFailure::of(&error) {
                Some(failure) if failure.is_template_error() => RenderError::Raised(failure.message.clone()),
                _ => RenderError::Failed(error),
            }
        })
    }
}

/// A document's question, ready to be joined.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The user's instruction; empty for none.
    pub instruction: &'a str,
    /// The task's; empty for none.
    pub description: &'a str,
    /// Questions and answers.
    pub examples: &'a [(String, Option<String>)],
    /// The question.
    pub question: &'a str,
    /// How the answer begins; empty for none.
    pub answer_prefix: &'a str,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its text.
    pub text: String,
    /// Whether the template refused the system message, so that it is left out.
    pub without_system: bool,
}

/// Joins the parts. A template that raises is asked once more without system messages.
///
/// # Errors
/// When a chat format has no template, or the template refuses.
pub fn prompt(
    parts: Parts<'_>,
    settings: &Settings,
    format: Format,
    renderer: Option<&dyn ChatRenderer>,
) -> Result<Prompt> {
    if format == Format::Plain {
        return Ok(Prompt { text: plain(parts, settings, true), without_system: false });
    }
    let renderer = renderer.ok_or_else(|| Error::usage("there is no chat template to write the prompts with"))?;
    let mut messages = messages(parts, settings, format);
    let ending = if parts.answer_prefix.is_empty() { Ending::Answer } else { Ending::Continued };
    let first = match renderer.render(&messages, ending) {
        Ok(text) => return Ok(Prompt { text, without_system: false }),
        Err(RenderError::Failed(error)) => return Err(error),
        Err(RenderError::Raised(message)) => message,
    };
    messages.retain(|message| message.role != Role::System);
    match renderer.render(&messages, ending) {
        Ok(text) => Ok(Prompt { text, without_system: true }),
        Err(RenderError::Failed(error)) => Err(error),
        Err(RenderError::Raised(second)) => {
            let also = if second == first { String::new() } else { format!(", and without system messages: {second}") };
            Err(Error::new(format!("the chat template refuses the prompt: {first}{also}"))
                .hint("evaluate without the chat template, or with everything in one turn"))
        }
    }
}

/// The conversation that a template is given.
pub fn messages(parts: Parts<'_>, settings: &Settings, format: Format) -> Vec<Message> {
    let message = |role: Role, content: &str| Message { role, content: content.to_owned() };
    let mut messages = Vec::new();
    let system = system(parts);
    if !system.is_empty() {
        messages.push(message(Role::System, &system));
    }
    if format == Format::SingleTurn {
        let turn = Parts { instruction: "", description: "", ..parts };
        messages.push(Message { role: Role::User, content: plain(turn, settings, false) });
    } else {
        for (question, answer) in parts.examples {
            messages.push(message(Role::User, question));
            if let Some(answer) = answer {
                messages.push(Message { role: Role::Assistant, content: joined(parts.answer_prefix, " ", answer) });
            }
        }
        messages.push(message(Role::User, parts.question));
    }
    if !parts.answer_prefix.is_empty() {
        messages.push(message(Role::Assistant, parts.answer_prefix));
    }
    messages
}

fn system(parts: Parts<'_>) -> String {
    joined(parts.instruction, "\n\n", parts.description)
}

fn plain(parts: Parts<'_>, settings: &Settings, with_prefix: bool) -> String {
    let mut text = system(parts);
    for (question, answer) in parts.examples {
        text += question;
        // An example without an answer runs into what follows.
        if let Some(answer) = answer {
            text += &settings.target_delimiter;
            text += &joined(parts.answer_prefix, " ", answer);
            text += &settings.fewshot_delimiter;
        }
    }
    let prefix = if with_prefix { parts.answer_prefix } else { "" };
    text += &joined(parts.question, &settings.target_delimiter, prefix);
    text
}

/// Two texts with `delimiter` between, unless one of them is empty or there is whitespace already.
fn joined(first: &str, delimiter: &str, second: &str) -> String {
    use crate::python::text::is_space;
    let apart = first.ends_with(is_space) || second.starts_with(is_space);
    if first.is_empty() || second.is_empty() || apart {
        format!("{first}{second}")
    } else {
        format!("{first}{delimiter}{second}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::task::{Output, Source};
    use super::*;

    /// Writes `<role>content</>`; refuses what is named.
    struct Brackets {
        refuses: Option<Role>,
    }

    impl ChatRenderer for Brackets {
        fn render(&self, messages: &[Message], ending: Ending) -> Result<String, RenderError> {
            if messages.iter().any(|message| Some(message.role) == self.refuses) {
                return Err(RenderError::Raised("not supported".into()));
            }
            let turn = |message: &Message| format!("<{}>{}</>", message.role.name(), message.content);
            let text: String = messages.iter().map(turn).collect();
            Ok(match ending {
                Ending::Answer => text + "<assistant>",
                Ending::Continued => text.trim_end_matches("</>").to_owned(),
                Ending::Closed => text,
            })
        }
    }

    fn written(answer_prefix: &str, format: Format, refuses: Option<Role>) -> Result<String> {
        let settings = Settings::new("own", 1.0, Output::MultipleChoice, Source::public("json", None));
        let examples = [("two".to_owned(), Some("B2".to_owned())), ("none".to_owned(), None)];
        let parts = Parts { instruction: "SYS", description: "D", examples: &examples, question: "one", answer_prefix };
        prompt(parts, &settings, format, Some(&Brackets { refuses })).map(|prompt| prompt.text)
    }

    #[test]
    fn prompts_are_written_as_the_reference_writes_them() {
        let cases = [
            ("", Format::Plain, "SYS\n\nDtwo B2\n\nnoneone"),
            ("P:", Format::Plain, "SYS\n\nDtwo P: B2\n\nnoneone P:"),
            (
                "",
                Format::MultiTurn,
                "<system>SYS\n\nD</><user>two</><assistant>B2</><user>none</><user>one</><assistant>",
            ),
            (
                "P:",
                Format::MultiTurn,
                "<system>SYS\n\nD</><user>two</><assistant>P: B2</><user>none</><user>one</><assistant>P:",
            ),
            ("", Format::SingleTurn, "<system>SYS\n\nD</><user>two B2\n\nnoneone</><assistant>"),
            ("P:", Format::SingleTurn, "<system>SYS\n\nD</><user>two P: B2\n\nnoneone</><assistant>P:"),
        ];
        for (answer_prefix, format, expected) in cases {
            assert_eq!(written(answer_prefix, format, None).unwrap(), expected, "{format:?}");
        }
    }

    #[test]
    fn a_template_without_a_system_role_is_asked_again_without_one() {
        let text = written("", Format::SingleTurn, Some(Role::System)).unwrap();
        assert_eq!(text, "<user>two B2\n\nnoneone</><assistant>");
        let refused = written("", Format::MultiTurn, Some(Role::User)).unwrap_err();
        insta::assert_snapshot!(refused, @"the chat template refuses the prompt: not supported");
    }
}
