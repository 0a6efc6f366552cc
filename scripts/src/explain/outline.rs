//! What a script declares, read off its tokens.
//!
//! A script that does not compile has no syntax tree, yet the way out of "unknown variable" depends on what is
//! declared where.

use rhai::{Engine, Position, Token};

use super::within;

/// The names a script declares.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) variables: Vec<Variable>,
    pub(super) imports: Vec<String>,
    /// From the word `fn` to the closing brace.
    functions: Vec<(Position, Position)>,
}

/// A `let` or `const`.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) position: Position,
    /// Neither in a function nor in a block.
    pub(super) top_level: bool,
}

impl Outline {
    pub(super) fn of(engine: &Engine, text: &str) -> Self {
        let mut outline = Self::default();
        let input = [text];
        let (tokens, _control) = engine.lex(&input);
        let mut depth = 0_usize;
        let mut function: Option<(Position, usize)> = None;
        let mut previous = Token::EOF;
        for (token, position) in tokens {
            match &token {
                Token::LeftBrace | Token::MapStart => depth += 1,
                Token::RightBrace => {
                    depth = depth.saturating_sub(1);
                    if let Some((start, level)) = function
                        && depth == level
                    {
                        outline.functions.push((start, position));
                        function = None;
                    }
                }
                Token::Fn => function = Some((position, depth)),
                Token::Identifier(name) => match previous {
                    Token::Let | Token::Const => outline.variables.push(Variable {
                        name: name.to_string(),
                        position,
                        top_level: depth == 0 && function.is_none(),
                    }),
                    Token::As => outline.imports.push(name.to_string()),
                    _ => {}
                },
                // The lexer goes on after an error for as long as there is text; one is enough.
                Token::LexError(_) | Token::EOF => break,
                _ => {}
            }
            previous = token;
        }
        outline
    }

    /// Whether `position` lies in the body of a function.
    pub(super) fn in_function(&self, position: Position) -> bool {
        self.functions.iter().any(|range| within(position, *range))
    }
}
