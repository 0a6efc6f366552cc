//! Benches of a model at work: generating, evaluating, serving.

use psann_eval::bench::{
    BenchModel, EvaluateBenchOptions, GenerateBenchOptions, ServeBenchOptions, evaluate_bench, generate_bench,
    serve_bench,
};

use super::print;
use crate::cli::{BenchEvaluateArgs, BenchGenerateArgs, BenchModelArgs, BenchServeArgs};
use crate::display::Failure;

/// `psann bench generate`.
pub fn generate(args: &BenchGenerateArgs) -> Result<(), Failure> {
    let report = generate_bench(&GenerateBenchOptions {
        model: model(&args.model, args.bf16),
        prompt: args.prompt,
        tokens: args.tokens,
        ..GenerateBenchOptions::default()
    })?;
    print(&report, &report.to_string(), args.model.json)
}

/// `psann bench evaluate`.
pub fn evaluate(args: &BenchEvaluateArgs) -> Result<(), Failure> {
    let report = evaluate_bench(&EvaluateBenchOptions {
        model: model(&args.model, false),
        documents: args.documents,
        batch: args.batch,
        context: args.context,
        endings: args.endings,
        ending: args.ending,
        ..EvaluateBenchOptions::default()
    })?;
    print(&report, &report.to_string(), args.model.json)
}

/// `psann bench serve`.
pub fn serve(args: &BenchServeArgs) -> Result<(), Failure> {
    let report = serve_bench(&ServeBenchOptions {
        model: model(&args.model, args.bf16),
        streams: args.streams.clone(),
        prompt: args.prompt,
        tokens: args.tokens,
        rounds: args.rounds,
    })?;
    print(&report, &report.to_string(), args.model.json)
}

fn model(sizes: &BenchModelArgs, bf16: bool) -> BenchModel {
    BenchModel {
        d_model: sizes.d_model as i64,
        layers: sizes.layers as i64,
        heads: sizes.heads as i64,
        d_mlp: sizes.d_mlp as i64,
        vocab: sizes.vocab as i64,
        threads: sizes.threads as usize,
        bf16,
    }
}
