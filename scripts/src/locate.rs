//! From a call and the path of an option to the very key in the recipe.
//!
//! Options are checked as JSON, which has no places. But a native function knows where it was called, so the call
//! can be found in the syntax tree and the path followed through its map literal, as far as that is written out
//! there. This needs Rhai's optimiser off: it would fold literals and lose their places.

use psann_core::options::Step;
use rhai::{AST, ASTNode, Expr, Position, Stmt};

/// The arguments of a call, as they are written; the receiver of a method is not among them.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) arguments: Vec<Expr>,
}

/// Which part of an option is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

/// The call whose name stands at `position`. `receiver` tells that a call in function style has one in front.
pub(crate) fn call(asts: &[AST], position: Position, receiver: bool) -> Option<Call> {
    let mut found = None;
    for ast in asts {
        ast.walk(&mut |path: &[ASTNode]| {
            let (call, skip) = match path.last() {
                Some(ASTNode::Expr(Expr::MethodCall(call, at))) if *at == position => (call, 0),
                Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at)))
                    if *at == position =>
                {
                    (call, usize::from(receiver))
                }
                _ => return true,
            };
            found = Some(Call { arguments: call.args.iter().skip(skip).cloned().collect() });
            false
        });
        if found.is_some() {
            break;
        }
    }
    found
}

/// The place of the option at `path` below `expression`, or of the innermost part of the way that is written out.
pub(crate) fn follow(expression: &Expr, path: &[Step], part: Part) -> Position {
    let Some((step, rest)) = path.split_first() else { return expression.start_position() };
    match (expression, step) {
        (Expr::Map(literal, _), Step::Key(key)) => match literal.0.iter().find(|(name, _)| name.name == key.as_str()) {
            Some((name, _)) if rest.is_empty() && part == Part::Key => name.pos,
            Some((_, value)) => follow(value, rest, part),
            None => expression.start_position(),
        },
        (Expr::Array(items, _), Step::Index(index)) => match items.get(*index) {
            Some(item) => follow(item, rest, part),
            None => expression.start_position(),
        },
        _ => expression.start_position(),
    }
}

#[cfg(test)]
mod tests {
    use rhai::{Engine, OptimizationLevel};

    use super::*;

    #[test]
    fn a_path_leads_to_the_key_or_as_near_as_the_text_goes() {
        let mut engine = Engine::new();
        engine.set_optimization_level(OptimizationLevel::None);
        let ast = engine.compile("let o = #{};\nf(1, #{ a: [#{ b: 2 }],\n c: o });").unwrap();
        let call = call(&[ast], Position::new(2, 1), false).unwrap();
        let steps = |path: &[&str]| -> Vec<Step> {
            let step = |word: &&str| word.parse().map_or_else(|_| Step::Key((*word).into()), Step::Index);
            path.iter().map(step).collect()
        };
        let place = |path: &[&str], part| follow(&call.arguments[1], &steps(path), part);
        assert_eq!(place(&["a", "0", "b"], Part::Key), Position::new(2, 16));
        assert_eq!(place(&["a", "0", "b"], Part::Value), Position::new(2, 19));
        assert_eq!(place(&["c", "d"], Part::Key), Position::new(3, 5));
    }
}
