//! Answers the questions of a [`Suite`]: from requests to passes over the network, and from scores to answers.
//!
//! Documents are computed together, longest first, as many as a pass has room for. On the CPU no answer depends on
//! which they are, so a batch is a matter of speed alone, and ranks, batches and interruptions change no digit.
//! Equal requests of a document are asked once, and every answer is written to the [`Journal`] as soon as it is there.

pub mod journal;

use std::collections::BTreeMap;

use psann_core::pass::{Pass, Past, Run};
use psann_core::{Collective, Error, Event, Observer, Result, Tokenizer};

use crate::generate::{GenerateOptions, Generator};
use crate::harness::{Answer, Answers, Key, Request, Scored, Suite};
use crate::network::Network;
use crate::sampling::Sampling;
use crate::scoring::{self, Sharing};
pub use journal::Journal;

/// How documents are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerOptions {
    /// Documents in a pass at most.
    pub batch: usize,
    /// Tokens in a pass at most, unless one document alone has more.
    pub tokens: usize,
    /// Whether the requests of a document share what they begin with.
    pub sharing: Sharing,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self { batch: 64, tokens: 2048, sharing: Sharing::Shared }
    }
}

/// The documents that are answered here: every `ranks`th, from number `rank` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// This process.
    pub rank: usize,
    /// All processes.
    pub ranks: usize,
}

impl Part {
    /// All documents.
    pub const ALL: Self = Self { rank: 0, ranks: 1 };
}

/// What the requests about documents are called, in order: [`collect`] finds their answers so.
pub type Asked = BTreeMap<Key, Vec<String>>;

/// Something to compute: what its requests are called, and the requests.
struct Work {
    digests: Vec<String>,
    requests: Vec<Request>,
    tokens: usize,
}

/// Answers this part's documents, but for what the journal knows already. What was asked comes back.
///
/// # Errors
/// When a document cannot be asked, the journal not be written, or the user asked to stop; what was answered until then
/// is in the journal.
pub fn answer(
    network: Network<'_>,
    suite: &Suite<'_>,
    part: Part,
    options: AnswerOptions,
    journal: &mut Journal,
    observer: &dyn Observer,
) -> Result<Asked> {
    let Open { work, asked } = open(suite, part, options.sharing, journal)?;
    let mut progress = Telling::new(&work, asked.len(), observer);
    for batch in batches(&work, options) {
        if observer.stop_requested() {
            return Err(
                Error::interrupted("stopped while evaluating").hint("run the same command again to go on from here")
            );
        }
        for (digest, answer) in compute(network, suite.encoder().tokenizer(), batch, options.sharing)? {
            journal.add(&digest, answer)?;
        }
        journal.flush()?;
        progress.tell(batch);
    }
    progress.done();
    Ok(asked)
}

/// Answers all documents with a network whose parameters come together on all ranks of `group` at the same time: each
/// rank takes its share, computes as many passes as the others, and has all answers in the end.
///
/// # Errors
/// When a document cannot be asked, or has to be generated for, which takes passes that nobody can count before.
pub fn answer_together(
    network: Network<'_>,
    suite: &Suite<'_>,
    group: &dyn Collective,
    options: AnswerOptions,
    observer: &dyn Observer,
) -> Result<(Asked, Journal)> {
    let mut journal = Journal::in_memory();
    let part = Part { rank: group.rank(), ranks: group.size() };
    let Open { work, asked } = open(suite, part, options.sharing, &journal)?;
    let generates = |work: &Work| work.requests.iter().any(|one| matches!(one, Request::Generate { .. }));
    if group.size() > 1 && work.iter().any(generates) {
        return Err(Error::usage("a task that generates cannot be evaluated while several ranks train")
            .hint("leave `every` out: it is evaluated after the training"));
    }
    let mut batches = batches(&work, options);
    let counts = group.share(&(batches.len() as u64).to_le_bytes())?;
    let counts = counts.into_iter().filter_map(|count| count.try_into().ok().map(u64::from_le_bytes));
    batches.resize(counts.max().unwrap_or(0) as usize, &[]);
    let mut progress = Telling::new(&work, asked.len(), observer);
    for batch in batches {
        if batch.is_empty() {
            // Nothing to ask, but the others need this rank's part of the weights.
            let run = Run { tokens: 0..1, past: Past::Nothing };
            network.project(&[0], &mut Pass::new(vec![run], Vec::new())?, None, |_, _| Ok(()))?;
            continue;
        }
        for (digest, answer) in compute(network, suite.encoder().tokenizer(), batch, options.sharing)? {
            journal.add(&digest, answer)?;
        }
        progress.tell(batch);
    }
    progress.done();
    for lines in group.share(journal.lines().as_bytes())? {
        journal.absorb(&lines)?;
    }
    Ok((asked, journal))
}

/// Tells how far the work is: in tokens, for documents are computed longest first and the last ones take no time.
struct Telling<'a> {
    observer: &'a dyn Observer,
    done: u64,
    total: u64,
    documents: usize,
    all_documents: usize,
}

impl<'a> Telling<'a> {
    const TASK: &'static str = "evaluating";

    fn new(work: &[Work], all_documents: usize, observer: &'a dyn Observer) -> Self {
        let total = work.iter().map(|work| work.tokens as u64).sum();
        Self { observer, done: 0, total, documents: all_documents - work.len(), all_documents }
    }

    fn tell(&mut self, batch: &[Work]) {
        self.done += batch.iter().map(|work| work.tokens as u64).sum::<u64>();
        self.documents += batch.len();
        let detail = format!("{} of {} documents", self.documents, self.all_documents);
        let (task, unit, total) = (Self::TASK.into(), "tokens", Some(self.total));
        self.observer.event(Event::Progress { task, done: self.done, total, unit, detail });
    }

    fn done(&self) {
        self.observer.event(Event::Done { task: Self::TASK.into() });
    }
}

/// What a part asks, and what of it has no answer yet.
struct Open {
    /// The documents that lack an answer, longest first: what does not fit into memory fails at once.
    work: Vec<Work>,
    asked: Asked,
}

fn open(suite: &Suite<'_>, part: Part, sharing: Sharing, journal: &Journal) -> Result<Open> {
    let (mut work, mut asked) = (Vec::new(), Asked::new());
    for (_, key) in suite.keys().enumerate().filter(|(index, _)| index % part.ranks == part.rank) {
        let requests = suite.requests(key)?;
        let digests: Vec<String> = requests.iter().map(Request::digest).collect();
        let named = digests.iter().cloned().zip(requests);
        // Equal requests are asked once.
        let open: BTreeMap<_, _> = named.filter(|(digest, _)| journal.get(digest).is_none()).collect();
        if !open.is_empty() {
            let (digests, requests): (Vec<_>, Vec<_>) = open.into_iter().unzip();
            let tokens = tokens(&requests, sharing);
            work.push(Work { digests, requests, tokens });
        }
        asked.insert(key, digests);
    }
    work.sort_by_key(|work| std::cmp::Reverse(work.tokens));
    Ok(Open { work, asked })
}

/// Tokens that are computed for the requests of a document.
fn tokens(requests: &[Request], sharing: Sharing) -> usize {
    let generated = requests.iter().map(|request| match request {
        Request::Generate { context, tokens, .. } => context.len() + tokens,
        _ => 0,
    });
    generated.sum::<usize>() + scored(requests).iter().map(|group| scoring::cost(group, sharing)).sum::<usize>()
}

/// The documents in passes.
fn batches(work: &[Work], options: AnswerOptions) -> Vec<&[Work]> {
    let (mut batches, mut left) = (Vec::new(), work);
    while !left.is_empty() {
        let (batch, rest) = left.split_at(fitting(left, options));
        batches.push(batch);
        left = rest;
    }
    batches
}

/// The answers to all documents of a suite; `None` where the journal lacks one. What this part has `asked` is known; what
/// other parts did is found out again.
///
/// # Errors
/// When a document cannot be asked.
pub fn collect(suite: &Suite<'_>, asked: &Asked, journal: &Journal) -> Result<Option<Answers>> {
    let mut answers = BTreeMap::new();
    for key in suite.keys() {
        let others: Vec<String>;
        let digests = if let Some(digests) = asked.get(&key) {
            digests
        } else {
            others = suite.requests(key)?.iter().map(Request::digest).collect();
            &others
        };
        let known: Option<Vec<Answer>> = digests.iter().map(|digest| journal.get(digest).cloned()).collect();
        let Some(known) = known else { return Ok(None) };
        answers.insert(key, known);
    }
    Ok(Some(answers))
}

/// How many of the first documents go into one pass.
fn fitting(work: &[Work], options: AnswerOptions) -> usize {
    let mut tokens = 0;
    let fits = work.iter().take(options.batch.max(1)).take_while(|work| {
        tokens += work.tokens;
        tokens <= options.tokens
    });
    fits.count().max(1)
}

/// What is scored for a document: the continuations together, for they begin alike, and each window alone.
fn scored(requests: &[Request]) -> Vec<Vec<scoring::Request>> {
    let one = |scored: &Scored| scoring::Request {
        context: scored.context.clone(),
        continuation: scored.continuation.clone(),
    };
    let mut groups = vec![Vec::new()];
    for request in requests {
        match request {
            Request::Score(scored) => groups[0].push(one(scored)),
            Request::Rolling { windows } => groups.extend(windows.iter().map(|window| vec![one(window)])),
            Request::Generate { .. } => {}
        }
    }
    groups
}

fn compute(
    network: Network<'_>,
    tokenizer: &dyn Tokenizer,
    work: &[Work],
    sharing: Sharing,
) -> Result<Vec<(String, Answer)>> {
    let groups: Vec<Vec<scoring::Request>> = work.iter().flat_map(|work| scored(&work.requests)).collect();
    let groups: Vec<&[scoring::Request]> = groups.iter().map(Vec::as_slice).collect();
    let mut scores = scoring::score(network, &groups, sharing)?.into_iter();
    let mut answers = Vec::new();
    for Work { digests, requests, .. } in work {
        let mut continuations = scores.next().unwrap_or_default().into_iter();
        for (digest, request) in digests.iter().zip(requests) {
            let missing = || Error::new("a request was left without a score");
            let answer = match request {
                Request::Score(_) => {
                    let score = continuations.next().ok_or_else(missing)?;
                    Answer::Score { log_likelihood: score.log_likelihood, is_greedy: score.is_greedy }
                }
                Request::Rolling { windows } => {
                    let mut log_likelihood = 0.0;
                    for _ in windows {
                        let window = scores.next().ok_or_else(missing)?;
                        log_likelihood += window.first().ok_or_else(missing)?.log_likelihood;
                    }
                    Answer::Rolling { log_likelihood }
                }
                Request::Generate { context, stop, tokens, .. } => {
                    generate(network, tokenizer, context, stop, *tokens)?
                }
            };
            answers.push((digest.clone(), answer));
        }
    }
    Ok(answers)
}

/// What greedy decoding says behind a prompt.
fn generate(
    network: Network<'_>,
    tokenizer: &dyn Tokenizer,
    context: &[u32],
    stop: &[String],
    tokens: usize,
) -> Result<Answer> {
    let generator = Generator::new(network, tokenizer)?;
    let options = GenerateOptions { tokens, stop: stop.to_vec(), sampling: Sampling::greedy(), ..Default::default() };
    let prompt = generator.read_ids(context.to_vec())?;
    let generated = generator.continue_prompt(&prompt, &options, 0, &mut |_| std::ops::ControlFlow::Continue(()))?;
    Ok(Answer::Generated { text: generated.text })
}
