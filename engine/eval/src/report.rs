//! How results read on a terminal: aligned, with the yardstick beside the number and nothing rounded in our favour.

use std::fmt;

use psann_core::quantity::grouped;

use crate::evaluate::EvaluateReport;
use crate::generate::Finish;
use crate::sample::Sample;

/// Columns of the text in samples.
const WIDTH: usize = 100;

impl fmt::Display for EvaluateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String, remark: String| {
            let remark = if remark.is_empty() { remark } else { format!("   {remark}") };
            writeln!(f, "  {name:<18}{value:>12}{remark}")
        };
        let scored = format!("{} tokens of {} documents", grouped(self.tokens), grouped(self.documents));
        row("perplexity", figures(self.perplexity), scored)?;
        if let Some(unigram) = self.unigram_perplexity {
            row("unigram", figures(unigram), comparison(self.perplexity, unigram))?;
        }
        row("bits per byte", format!("{:.4}", self.bits_per_byte), format!("{} bytes", grouped(self.bytes)))?;
        let window = if self.stride == self.context {
            format!("windows of {} tokens", grouped(self.context))
        } else {
            format!("windows of {} tokens, {} new in each", grouped(self.context), grouped(self.stride))
        };
        row("nats per token", format!("{:.4}", self.nats_per_token), window)
    }
}

/// What the model's perplexity means beside that of token frequencies.
fn comparison(perplexity: f64, unigram: f64) -> String {
    if perplexity < unigram {
        format!("token frequencies alone; the model's is {} times lower", figures(unigram / perplexity))
    } else {
        "token frequencies alone; the model is no better, so it has learnt nothing yet".into()
    }
}

impl EvaluateReport {
    /// One line for a log.
    pub fn summary(&self) -> String {
        let unigram =
            self.unigram_perplexity.map_or(String::new(), |unigram| format!(" (unigram {})", figures(unigram)));
        format!("perplexity {}{unigram} · {:.4} bits per byte", figures(self.perplexity), self.bits_per_byte)
    }
}

impl Sample {
    /// Several samples, one below the other, as a terminal shows them: the prompt between brackets, the text wrapped. `…`
    /// marks a text that was cut at its length, `■` one that the model ended.
    pub fn render(samples: &[Self]) -> String {
        let blocks: Vec<String> = samples.iter().map(block).collect();
        blocks.join("\n")
    }
}

fn block(sample: &Sample) -> String {
    let prompt = if sample.prompt.is_empty() { String::new() } else { format!("[{}]", visible(&sample.prompt)) };
    let end = match sample.finish {
        Finish::Length => " …",
        Finish::EndOfText => " ■",
        Finish::Stop | Finish::Cancelled => "",
    };
    wrapped(&format!("{prompt}{}{end}", visible(&sample.text)))
}

/// Control characters but newlines would move the cursor, or worse.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Breaks lines at spaces and indents them.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut column = 0;
        out.push_str("  ");
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column > 0 && column + length > WIDTH {
                out.truncate(out.trim_end_matches(' ').len());
                out.push_str("\n  ");
                column = 0;
            }
            out.push_str(word);
            column += word.chars().count();
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

/// Four significant digits, as many as a held-out set of some thousand tokens supports.
fn figures(value: f64) -> String {
    let digits = if value > 0.0 && value.is_finite() { (value.log10().floor() as i32).clamp(-3, 3) } else { 3 };
    if value >= 1e6 { format!("{value:.3e}") } else { format!("{value:.*}", (3 - digits) as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> EvaluateReport {
        EvaluateReport {
            documents: 312,
            tokens: 24_391,
            bytes: 104_233,
            nats_per_token: 4.123_456,
            perplexity: 61.772_1,
            bits_per_byte: 1.392_1,
            unigram_perplexity: Some(611.27),
            context: 256,
            stride: 256,
        }
    }

    #[test]
    fn a_report_states_the_unigram_model_beside_the_perplexity() {
        insta::assert_snapshot!(report(), @r"
          perplexity               61.77   24,391 tokens of 312 documents
          unigram                  611.3   token frequencies alone; the model's is 9.896 times lower
          bits per byte           1.3921   104,233 bytes
          nats per token          4.1235   windows of 256 tokens
        ");
        insta::assert_snapshot!(report().summary(), @"perplexity 61.77 (unigram 611.3) · 1.3921 bits per byte");
    }

    #[test]
    fn a_report_does_not_flatter() {
        let report =
            EvaluateReport { perplexity: 4_100_000.0, unigram_perplexity: Some(611.27), stride: 64, ..report() };
        insta::assert_snapshot!(report, @r"
          perplexity             4.100e6   24,391 tokens of 312 documents
          unigram                  611.3   token frequencies alone; the model is no better, so it has learnt nothing yet
          bits per byte           1.3921   104,233 bytes
          nats per token          4.1235   windows of 256 tokens, 64 new in each
        ");
        let without = EvaluateReport { unigram_perplexity: None, ..report };
        insta::assert_snapshot!(without.summary(), @"perplexity 4.100e6 · 1.3921 bits per byte");
    }

    #[test]
    fn samples_show_the_prompt_the_text_and_how_it_ended() {
        let sample = |prompt: &str, text: &str, finish| Sample {
            prompt: prompt.into(),
            text: text.into(),
            tokens: 9,
            finish,
            tokens_per_second: 200.0,
        };
        let long = " was calm, and still".repeat(9);
        insta::assert_snapshot!(
            Sample::render(&[
                sample("The sea", &long, Finish::Length),
                sample("It is", " a truth.\n\n\"Yes,\" said\u{1b}[31m she.", Finish::EndOfText),
                sample("", "Once", Finish::Stop),
            ]),
            @r#"
          [The sea] was calm, and still was calm, and still was calm, and still was calm, and still was calm,
          and still was calm, and still was calm, and still was calm, and still was calm, and still …

          [It is] a truth.
          
          "Yes," said�[31m she. ■

          Once
        "#
        );
    }

    #[test]
    fn figures_are_four_digits() {
        let shown: Vec<String> = [0.012_345, 1.0, 61.772_1, 1234.5, 123_456.0, 7e9].map(figures).into();
        assert_eq!(shown, ["0.01235", "1.000", "61.77", "1234", "123456", "7.000e9"]);
    }
}
