//! What psann needs of every plugin, as checks: each on its own, each with what was seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::memory::resident;
use super::{Recorder, Texts};
use crate::call::{FILTER, FilterCall, Plugin, SOURCE, SourceCall, Stream, Verdicts};
use crate::{Document, Error, Fault, Result};

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be; what was seen.
    Failed(String),
    /// Allowed, and seldom meant.
    Warned(String),
    /// Could not be asked; why.
    Skipped(String),
}

/// A check of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `filter letters`.
    pub component: String,
    /// What should hold.
    pub what: &'static str,
    /// Whether it does.
    pub outcome: Outcome,
}

impl Check {
    /// Whether it is not as it should be.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, seen) = match &self.outcome {
            Outcome::Passed => ("ok     ", None),
            Outcome::Failed(seen) => ("FAILED ", Some(seen)),
            Outcome::Warned(seen) => ("warning", Some(seen)),
            Outcome::Skipped(why) => ("skipped", Some(why)),
        };
        write!(f, "{mark} {}: {}", self.component, self.what)?;
        match seen {
            Some(seen) => write!(f, "\n          {seen}"),
            None => Ok(()),
        }
    }
}

/// How long a source may take to open a piece before that is worth a warning.
const SLOW: Duration = Duration::from_secs(5);

/// Most pieces of a source, and most batches of a piece, that are read.
const MOST_PIECES: usize = 3;
const MOST_BATCHES: usize = 8;

/// Runs all checks of all components, and tells of each as soon as it is done: a library may end the process in the next
/// one. `options` are those of components, by name.
pub fn conformance(
    plugin: &'static Plugin,
    recorder: &Recorder,
    options: &BTreeMap<String, Value>,
    tell: &mut dyn FnMut(&Check),
) -> Vec<Check> {
    let mut all = Vec::new();
    for component in &plugin.manifest().components {
        let given = options.get(&component.name).cloned().unwrap_or_else(|| json!({}));
        let (kind, check): (_, Checker) = match component.interface.as_str() {
            FILTER => ("filter", filter),
            SOURCE => ("source", source),
            _ => continue,
        };
        let mut checks = Checks { component: format!("{kind} {}", component.name), done: Vec::new(), tell };
        check(&mut checks, plugin, &component.name, &given, recorder);
        all.append(&mut checks.done);
    }
    all
}

type Checker = fn(&mut Checks<'_>, &'static Plugin, &str, &Value, &Recorder);

struct Checks<'a> {
    component: String,
    done: Vec<Check>,
    tell: &'a mut dyn FnMut(&Check),
}

impl Checks<'_> {
    fn note(&mut self, what: &'static str, outcome: Outcome) {
        let check = Check { component: self.component.clone(), what, outcome };
        (self.tell)(&check);
        self.done.push(check);
    }

    /// A check that fails with what it says.
    fn hold(&mut self, what: &'static str, check: impl FnOnce() -> Result<()>) {
        let outcome = check().map_or_else(|error| Outcome::Failed(error.to_string()), |()| Outcome::Passed);
        self.note(what, outcome);
    }
}

/// Refuses unless `holds`.
fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(seen())) }
}

/// What both kinds must say against wrong names and options.
fn refusals<T>(checks: &mut Checks<'_>, given: &Value, make: impl Fn(&str, &Value) -> Result<T>, name: &str) {
    let fault = |made: Result<T>| made.err().map(|error| error.fault);
    checks.hold("an unknown option is refused as a mistake of the user", || {
        let mut options = given.clone();
        options["an option that nobody has"] = json!(1);
        let found = fault(make(name, &options));
        ensure(found == Some(Fault::Usage), || format!("expected code 2 (PSANN_USAGE), found {found:?}"))
    });
    checks.hold("options that are no object are refused", || {
        let found = fault(make(name, &json!([1, 2])));
        ensure(found == Some(Fault::Usage), || format!("expected code 2 (PSANN_USAGE), found {found:?}"))
    });
    checks.hold("a name that it does not have is refused", || {
        let found = fault(make("no such component", given));
        ensure(found.is_some(), || "it made something".to_owned())
    });
}

fn filter(checks: &mut Checks<'_>, plugin: &'static Plugin, name: &str, given: &Value, _recorder: &Recorder) {
    let make = |name: &str, options: &Value| plugin.filter(name, options);
    let filter = match make(name, given) {
        Ok(filter) => filter,
        Err(error) => {
            let outcome = match error.fault {
                Fault::Usage => Outcome::Skipped(format!("it needs options: {error}")),
                _ => Outcome::Failed(error.to_string()),
            };
            checks.note("it can be made", outcome);
            return;
        }
    };
    checks.note("it can be made", Outcome::Passed);
    refusals(checks, given, make, name);
    let all = documents();
    let judge = |documents: &[Document]| apply(&filter, documents);
    checks.hold("a batch without documents has no verdicts", || {
        let verdicts = judge(&[])?;
        ensure(verdicts.dropped.is_empty(), || format!("{} verdicts", verdicts.dropped.len()))
    });
    let whole = judge(&all);
    checks.hold("texts of all kinds are judged", || whole.clone().map(drop));
    if let Ok(whole) = &whole {
        checks.hold("the same documents get the same verdicts again", || {
            ensure(same(whole, &judge(&all)?), || "they differ".to_owned())
        });
        checks.hold("a verdict does not depend on the other documents of a batch", || {
            for (row, document) in all.iter().enumerate() {
                let alone = judge(std::slice::from_ref(document))?;
                ensure(same(&alone, &row_of(whole, row)), || {
                    format!("document {row} alone is judged {alone:?}, among others {:?}", row_of(whole, row))
                })?;
            }
            Ok(())
        });
    }
    checks.hold("a document of 10 MB is judged", || {
        let verdicts = judge(&[Document::new("ten megabytes ".repeat(750_000))])?;
        ensure(verdicts.dropped.len() == 1, || format!("{} verdicts", verdicts.dropped.len()))
    });
    checks.hold("two of them work on two threads", || {
        let other = make(name, given)?;
        on_threads(&[&filter, &other], |filter| apply(filter, &all))
    });
    checks.hold("one of them may be asked from several threads", || {
        on_threads(&[&filter, &filter, &filter], |filter| apply(filter, &all))
    });
    leaks(checks, || {
        apply(&make(name, given)?, &all)?;
        filter.identity().map(drop)
    });
}

fn apply(filter: &FilterCall, documents: &[Document]) -> Result<Verdicts> {
    Texts::new(&filter.reads().columns, documents).lend(|lent| filter.apply(lent))
}

/// Equal verdicts; scores that are no number are equal.
fn same(a: &Verdicts, b: &Verdicts) -> bool {
    let bits = |verdicts: &Verdicts| -> Vec<Vec<u64>> {
        verdicts.scores.iter().map(|scores| scores.iter().map(|score| score.to_bits()).collect()).collect()
    };
    let texts = |verdicts: &Verdicts| -> Vec<Option<String>> {
        if verdicts.rewritten.is_empty() { vec![None; verdicts.dropped.len()] } else { verdicts.rewritten.clone() }
    };
    a.dropped == b.dropped && bits(a) == bits(b) && texts(a) == texts(b)
}

fn row_of(verdicts: &Verdicts, row: usize) -> Verdicts {
    Verdicts {
        dropped: vec![verdicts.dropped[row]],
        rewritten: verdicts.rewritten.get(row).cloned().into_iter().collect(),
        scores: verdicts.scores.iter().map(|scores| vec![scores[row]]).collect(),
    }
}

/// Does the same on several threads at once; all must say the same.
fn on_threads<T: Sync, R: Alike + Send>(items: &[&T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<()> {
    let results: Vec<Result<R>> = std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        let panicked = |_| Err(Error::new("the thread panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let results = results.into_iter().collect::<Result<Vec<R>>>()?;
    for pair in results.windows(2) {
        ensure(pair[0].is_like(&pair[1]), || "they said different things".to_owned())?;
    }
    Ok(())
}

/// Equality of what threads say.
trait Alike {
    fn is_like(&self, other: &Self) -> bool;
}

impl Alike for Verdicts {
    fn is_like(&self, other: &Self) -> bool {
        same(self, other)
    }
}

impl Alike for Vec<Document> {
    fn is_like(&self, other: &Self) -> bool {
        self == other
    }
}

/// Texts of all kinds, with and without the other columns.
fn documents() -> Vec<Document> {
    let long = "A sentence like many others, neither short nor long. ".repeat(40);
    let texts = [
        "",
        " ",
        "word",
        "Zwölf Boxkämpfer jagen Viktor",
        "日本語の文章です。",
        "🦀🦀🦀",
        "a\0b",
        "\u{feff}\r\n\t",
        &long,
    ];
    let of = |(row, text): (usize, &&str)| Document {
        text: (*text).to_owned(),
        id: (row % 2 == 0).then(|| row.to_string()),
        url: (row % 3 == 0).then(|| format!("https://example.org/{row}")),
        source: (row % 4 == 1).then(|| "test".to_owned()),
        meta: (row % 5 == 2).then(|| "{\"row\": 1}".to_owned()),
    };
    texts.iter().enumerate().map(of).collect()
}

fn source(checks: &mut Checks<'_>, plugin: &'static Plugin, name: &str, given: &Value, recorder: &Recorder) {
    let make = |name: &str, options: &Value| plugin.source(name, options);
    let listed = make(name, given).and_then(|source| Ok((source.partitions()?, source)));
    let (partitions, source) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let outcome = match error.fault {
                Fault::Usage => Outcome::Skipped(format!("it needs options: {error}")),
                _ => Outcome::Failed(error.to_string()),
            };
            checks.note("it can be made and lists its pieces", outcome);
            return;
        }
    };
    checks.note("it can be made and lists its pieces", Outcome::Passed);
    refusals(checks, given, make, name);
    checks.hold("the pieces and the identity are the same again", || {
        let other = make(name, given)?;
        ensure(partitions == other.partitions()?, || "the pieces differ".to_owned())?;
        ensure(source.identity()? == other.identity()?, || "the identities differ".to_owned())
    });
    checks.hold("a piece that is not there is refused", || {
        let opened = source.open(partitions.len() as u64, None).and_then(|mut stream| next(&mut stream));
        ensure(opened.is_err(), || format!("it opened piece {} of {}", partitions.len(), partitions.len()))
    });
    if partitions.is_empty() {
        checks.note("it has documents", Outcome::Warned("there are no pieces".to_owned()));
        return;
    }
    let began = Instant::now();
    let pieces = partitions.len().min(MOST_PIECES) as u64;
    checks.hold("pieces can be read", || (0..pieces).try_for_each(|piece| head(&source, piece).map(drop)));
    let took = began.elapsed();
    if took > SLOW {
        let seen = format!("opening and reading the beginnings took {:.1} s", took.as_secs_f64());
        checks.note("it opens quickly", Outcome::Warned(seen));
    }
    checks.hold("from every position it goes on right behind the last batch", || {
        (0..pieces).try_for_each(|piece| resumes(&source, piece))
    });
    checks.hold("a stream may be left in the middle", || {
        let mut stream = source.open(0, None)?;
        next(&mut stream).map(drop)
    });
    checks.hold("two of them work on two threads", || {
        let other = make(name, given)?;
        on_threads(&[&source, &other], |source| Ok(head(source, 0)?.concat()))
    });
    checks.hold("one of them may be read from several threads", || {
        on_threads(&[&source, &source, &source], |source| Ok(head(source, 0)?.concat()))
    });
    let mut stream = source.open(0, None);
    recorder.cancel(true);
    checks.hold("it stops soon when the user asks it to", || {
        let stream = stream.as_mut().map_err(|error| error.clone())?;
        for _ in 0..MOST_BATCHES {
            match next(stream) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) if error.fault == Fault::Cancelled => return Ok(()),
                Err(error) => return Err(Error::new(format!("expected errno 125 (cancelled), found: {error}"))),
            }
        }
        Err(Error::new(format!("it read {MOST_BATCHES} batches on")))
    });
    recorder.cancel(false);
    drop(stream);
    leaks(checks, || {
        let mut stream = make(name, given)?.open(0, None)?;
        next(&mut stream)?;
        stream.position().map(drop)
    });
}

/// The next batch of a stream as documents.
fn next(stream: &mut Stream) -> Result<Option<Vec<Document>>> {
    let mut documents = Vec::new();
    let found = stream.next(&mut |row| {
        let [id, url, source, meta] = row.optional.map(|value| value.map(str::to_owned));
        documents.push(Document { text: row.text.to_owned(), id, url, source, meta });
    })?;
    ensure(found != Some(0), || "a batch without documents, which only the end may be".to_owned())?;
    Ok(found.map(|_| documents))
}

/// The first batches of a piece.
fn head(source: &SourceCall, piece: u64) -> Result<Vec<Vec<Document>>> {
    let mut stream = source.open(piece, None)?;
    let mut batches = Vec::new();
    while batches.len() < MOST_BATCHES {
        match next(&mut stream)? {
            Some(batch) => batches.push(batch),
            None => break,
        }
    }
    Ok(batches)
}

fn resumes(source: &SourceCall, piece: u64) -> Result<()> {
    let mut stream = source.open(piece, None)?;
    let mut positions = Vec::new();
    let mut batches = Vec::new();
    while batches.len() < MOST_BATCHES {
        let Some(batch) = next(&mut stream)? else { break };
        let position = stream.position()?;
        ensure(!position.is_empty(), || format!("the position behind batch {} is empty", batches.len()))?;
        positions.push(position);
        batches.push(batch);
    }
    let ended = batches.len() < MOST_BATCHES;
    for (read, position) in positions.iter().enumerate() {
        let mut stream = source.open(piece, Some(position))?;
        let expected = batches[read + 1..].concat();
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let Some(batch) = next(&mut stream)? else { break };
            found.extend(batch);
        }
        let longer = found.len() > expected.len();
        if longer && !ended {
            // Batches may be cut elsewhere after a resume.
            found.truncate(expected.len());
        }
        ensure(found == expected, || format!("behind batch {read} (position `{position}`) other documents follow"))?;
        if ended && !longer {
            let more = next(&mut stream)?;
            ensure(more.is_none(), || format!("behind batch {read} there are more documents than at first"))?;
        }
    }
    Ok(())
}

/// How often something is done to see whether it leaks, and how much memory may come with it.
const TIMES: usize = 400;
const LEAST_LEAK: u64 = 8 << 20;

fn leaks(checks: &mut Checks<'_>, mut work: impl FnMut() -> Result<()>) {
    let what = "what it hands over is freed again";
    let mut run = |times: usize| (0..times).try_for_each(|_| work());
    // Once before: allocators keep what they were given.
    if let Err(error) = run(TIMES / 4) {
        checks.note(what, Outcome::Failed(error.to_string()));
        return;
    }
    let before = resident();
    let outcome = match (run(TIMES), before, resident()) {
        (Err(error), ..) => Outcome::Failed(error.to_string()),
        (Ok(()), Some(before), Some(after)) if after > before + LEAST_LEAK => {
            let megabytes = (after - before) >> 20;
            Outcome::Failed(format!("{TIMES} rounds of making, asking and freeing cost {megabytes} MB"))
        }
        (Ok(()), None, _) => Outcome::Skipped("this system does not tell how much memory a process has".to_owned()),
        _ => Outcome::Passed,
    };
    checks.note(what, outcome);
}
