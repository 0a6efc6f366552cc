//! From answers to results.

use psann_core::{Error, Result};

use super::super::metrics::choice::{first_largest, first_largest_per};
use super::super::metrics::{Measured, Metric, Sensitive};
use super::super::results::hash;
use super::super::results::{DocumentResult, Results, TaskResult};
use super::super::task::Question;
use super::{Answer, Answers, Document, Key, Planned, Request, Suite};

impl<'a> Suite<'a> {
    /// Metrics, hashes and aggregates of everything that was answered, whoever answered and in which order.
    ///
    /// # Errors
    /// When an answer is missing, is one too many, or answers something else.
    pub fn finish<'s>(&'s self, answers: &Answers) -> Result<Results<'s, 'a>> {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for (task, planned) in self.tasks.iter().enumerate() {
            let mut documents = Vec::with_capacity(planned.documents.len());
            for (index, document) in planned.documents.iter().enumerate() {
                let key = Key { task, document: index };
                let answers = answers.get(&key).map(Vec::as_slice).unwrap_or_default();
                let result = self
                    .document(key, planned, document, answers)
                    .map_err(|error| error.within(format!("task `{}`, document {}", planned.name(), document.id)))?;
                documents.push(result);
            }
            tasks.push(TaskResult::new(planned.task.settings(), documents, self.options.bootstrap_iterations));
        }
        Ok(Results { suite: self, tasks })
    }

    fn document(&self, key: Key, planned: &Planned, document: &Document, answers: &[Answer]) -> Result<DocumentResult> {
        let expected = match &document.question {
            Question::Choices { choices, .. } => choices.len(),
            Question::Contexts { contexts, .. } => contexts.len(),
            _ => 1,
        };
        if answers.len() != expected {
            return Err(Error::new(format!("has {} answers, expected {expected}", answers.len())));
        }
        let unscored = self.unscored(key, answers)?;
        let metrics = planned.task.settings().metrics.iter();
        let metrics: Result<Vec<Measured>> =
            metrics.map(|metric| self.measure(key, metric, &document.question, answers, &unscored)).collect();
        Ok(DocumentResult {
            id: document.id,
            doc_hash: hash::document(&document.fields),
            prompt_hash: hash::text(&self.first(key)?),
            target_hash: hash::text(&document.question.target()),
            metrics: metrics?,
            sensitive: sensitive(&document.question, answers, self.delimiter(planned, document))?,
            answers: answers.to_vec(),
            unscored,
        })
    }

    fn measure(
        &self,
        key: Key,
        metric: &Metric,
        question: &Question,
        answers: &[Answer],
        unscored: &[bool],
    ) -> Result<Measured> {
        let does_not_fit = || Error::new(format!("metric `{}` does not fit the question", metric.name()));
        let unscored = unscored.first().copied().unwrap_or_default();
        let right = |best: usize, gold: usize| Ok(Measured::real(f64::from(u8::from(best == gold))));
        match question {
            Question::Choices { choices: texts, gold, .. } | Question::Contexts { contexts: texts, gold, .. } => {
                let scores = likelihoods(answers)?;
                let lengths = match metric {
                    Metric::Accuracy => return right(first_largest(&scores), *gold),
                    Metric::AccuracyPerCharacter => texts.iter().map(|text| text.chars().count()).collect(),
                    Metric::AccuracyPerByte => texts.iter().map(String::len).collect(),
                    Metric::AccuracyPerToken => self.scored_tokens(key)?,
                    _ => return Err(does_not_fit()),
                };
                right(first_largest_per(&scores, &lengths), *gold)
            }
            Question::Continuation { .. } => match (metric, answers) {
                (Metric::Perplexity, [Answer::Score { .. }]) if unscored => Ok(Measured::whole(0)),
                (Metric::Perplexity, [Answer::Score { log_likelihood, .. }]) => Ok(Measured::real(*log_likelihood)),
                (Metric::Accuracy, [Answer::Score { is_greedy, .. }]) => Ok(Measured::whole(i64::from(*is_greedy))),
                _ => Err(does_not_fit()),
            },
            Question::Rolling { words, bytes, .. } => match (metric, answers) {
                (Metric::WordPerplexity, [Answer::Rolling { log_likelihood }]) => {
                    Ok(Measured::weighted(*log_likelihood, *words, unscored))
                }
                (Metric::BytePerplexity | Metric::BitsPerByte, [Answer::Rolling { log_likelihood }]) => {
                    Ok(Measured::weighted(*log_likelihood, *bytes, unscored))
                }
                _ => Err(does_not_fit()),
            },
            Question::Open { target, .. } => match (metric, answers) {
                (Metric::ExactMatch(rules), [Answer::Generated { text }]) => {
                    Ok(Measured::real(f64::from(u8::from(rules.holds(text, target)))))
                }
                _ => Err(does_not_fit()),
            },
        }
    }

    /// Which answers are about nothing: requests without a token to score, whose log-likelihood is 0 whatever the model.
    fn unscored(&self, key: Key, answers: &[Answer]) -> Result<Vec<bool>> {
        let is_zero = |answer: &Answer| match answer {
            Answer::Score { log_likelihood, .. } | Answer::Rolling { log_likelihood } => *log_likelihood == 0.0,
            Answer::Generated { .. } => false,
        };
        if !answers.iter().any(is_zero) {
            return Ok(vec![false; answers.len()]);
        }
        let is_empty = |request: &Request| match request {
            Request::Score(scored) => scored.continuation.is_empty(),
            Request::Rolling { windows } => windows.is_empty(),
            Request::Generate { .. } => false,
        };
        Ok(self.requests(key)?.iter().map(is_empty).collect())
    }

    fn scored_tokens(&self, key: Key) -> Result<Vec<usize>> {
        let length = |request: Request| match request {
            Request::Score(scored) => scored.continuation.len(),
            _ => 0,
        };
        Ok(self.requests(key)?.into_iter().map(length).collect())
    }
}

fn likelihoods(answers: &[Answer]) -> Result<Vec<f64>> {
    let score = |answer: &Answer| match answer {
        Answer::Score { log_likelihood, .. } => Ok(*log_likelihood),
        _ => Err(Error::new("an answer is no log-likelihood of a continuation")),
    };
    answers.iter().map(score).collect()
}

fn sensitive(question: &Question, answers: &[Answer], delimiter: &str) -> Result<Option<Sensitive>> {
    let of_choices = |gold: usize, text: &str| -> Result<Option<Sensitive>> {
        Ok(Some(Sensitive::of_choices(&likelihoods(answers)?, gold, delimiter.len() + text.len())))
    };
    match question {
        Question::Choices { choices, gold, .. } => of_choices(*gold, &choices[*gold]),
        Question::Contexts { ending, gold, .. } => of_choices(*gold, ending),
        Question::Continuation { target, .. } => {
            let gold = likelihoods(answers)?.first().copied().unwrap_or_default();
            Ok(Some(Sensitive { gold, bytes: target.len(), margin: None, centred: None }))
        }
        Question::Rolling { .. } | Question::Open { .. } => Ok(None),
    }
}
