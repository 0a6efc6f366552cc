//! The words that Rhai keeps for itself.
//!
//! Recipes write options as bare map keys, stages as methods and plugins as functions, and none of these may be a
//! reserved word. Rhai has no public list, so it is here, and a test holds it against Rhai's parser.

/// Every word that cannot be a bare map key, a method or a function of ours.
pub(crate) const WORDS: &[&str] = &[
    "_",
    "as",
    "async",
    "await",
    "break",
    "call",
    "case",
    "catch",
    "const",
    "continue",
    "curry",
    "debug",
    "default",
    "do",
    "else",
    "eval",
    "export",
    "false",
    "fn",
    "for",
    "go",
    "goto",
    "if",
    "import",
    "in",
    "is",
    "is_def_fn",
    "is_def_var",
    "is_shared",
    "let",
    "loop",
    "match",
    "module",
    "new",
    "nil",
    "null",
    "package",
    "print",
    "private",
    "protected",
    "public",
    "return",
    "shared",
    "spawn",
    "static",
    "super",
    "switch",
    "sync",
    "this",
    "thread",
    "throw",
    "true",
    "try",
    "type_of",
    "until",
    "use",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

/// Every word that can name neither an option, nor a plugin, nor a stage, sorted.
pub fn reserved_words() -> &'static [&'static str] {
    WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_key(word: &str) -> bool {
        rhai::Engine::new_raw().compile(format!("#{{ {word}: 1 }}")).is_ok()
    }

    #[test]
    fn the_list_is_sorted_and_rhai_agrees_with_it() {
        assert!(WORDS.is_sorted());
        for word in WORDS {
            assert!(!is_key(word), "Rhai takes `{word}` as a key");
        }
    }

    #[test]
    fn words_that_options_are_made_of_are_free() {
        for word in [
            "steps", "batch", "path", "manifest", "schedule", "warmup", "decay", "every", "keep", "seed", "text",
            "exit", "sleep", "tag", "global", "range", "len", "type", "format", "size", "min", "max", "id", "none",
            "mode", "self", "struct", "enum", "impl", "where", "from", "to", "on", "off", "load", "save", "and", "or",
            "not",
        ] {
            assert!(is_key(word) && !WORDS.contains(&word), "`{word}`");
        }
    }
}
