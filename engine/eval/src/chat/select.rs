//! Which of a tokenizer's templates to use: most have one, some have named ones, for example for conversations with tools.

use psann_core::{Error, Result};

/// The name of the template for conversations of every kind.
pub const DEFAULT: &str = "default";

/// The name of the template for conversations with tools.
pub const TOOL_USE: &str = "tool_use";

/// The text of the template to use, from `(name, text)` of all there are: the one that is `wanted`; or the one for tools
/// where the conversation has `tools` and there is one; or the default.
///
/// # Errors
/// When there is none to use.
pub fn select<'a>(
    templates: impl IntoIterator<Item = (&'a str, &'a str)>,
    wanted: Option<&str>,
    tools: bool,
) -> Result<&'a str> {
    let templates: Vec<(&str, &str)> = templates.into_iter().collect();
    let find = |name: &str| templates.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    if templates.is_empty() {
        return Err(Error::usage("the tokenizer has no chat template")
            .hint("put a `chat_template.jinja` beside its `tokenizer.json`"));
    }
    let names = || templates.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        return find(wanted).ok_or_else(|| {
            Error::usage(format!("the tokenizer has no chat template `{wanted}`")).hint(format!("it has {}", names()))
        });
    }
    let chosen = if tools { find(TOOL_USE) } else { None };
    chosen.or_else(|| find(DEFAULT)).ok_or_else(|| {
        Error::usage("the tokenizer has several chat templates and none is its `default`")
            .hint(format!("name one of {}", names()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [(&str, &str); 2] = [(DEFAULT, "d"), (TOOL_USE, "t")];

    #[test]
    fn tools_choose_their_template_and_names_choose_any() {
        assert_eq!(select(BOTH, None, false).unwrap(), "d");
        assert_eq!(select(BOTH, None, true).unwrap(), "t");
        assert_eq!(select(BOTH, Some(TOOL_USE), false).unwrap(), "t");
        assert_eq!(select([(DEFAULT, "d")], None, true).unwrap(), "d");
    }

    #[test]
    fn without_a_template_to_use_the_error_lists_what_there_is() {
        let said = |templates: &[(&'static str, &'static str)], wanted| {
            let error = select(templates.iter().copied(), wanted, false).unwrap_err();
            format!("{error}\n{}", error.hint_text().unwrap())
        };
        insta::assert_snapshot!(said(&[], None), @r"
        the tokenizer has no chat template
        put a `chat_template.jinja` beside its `tokenizer.json`
        ");
        insta::assert_snapshot!(said(&BOTH, Some("rag")), @r"
        the tokenizer has no chat template `rag`
        it has `default`, `tool_use`
        ");
        insta::assert_snapshot!(said(&BOTH[1..], None), @r"
        the tokenizer has several chat templates and none is its `default`
        name one of `tool_use`
        ");
    }
}
