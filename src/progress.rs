//! What a run shows while it works: a live bar on a terminal, a line now and then elsewhere.
//!
//! Everything goes to standard error, so that results on standard output can be piped.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use psann_core::{Event, Observer};

use crate::stop::Stop;

/// How often a task says something when there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows events to the user and passes on their wish to stop.
pub struct Progress {
    stop: Stop,
    live: bool,
    /// The other ranks say what the first one says: only it speaks.
    speaks: bool,
    tasks: Mutex<BTreeMap<String, Task>>,
}

struct Task {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Where the work stood when we first heard of it: a resumed run starts in the middle, and its rate must not
    /// count what an earlier process did.
    first: u64,
    printed: Option<Instant>,
    last: (u64, Option<u64>, &'static str, String),
}

impl Progress {
    /// Chooses the display by what standard error is.
    pub fn new(stop: Stop) -> Self {
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { stop, live, speaks: true, tasks: Mutex::new(BTreeMap::new()) }
    }

    /// That of one of several processes.
    pub fn of_rank(stop: Stop, rank: usize) -> Self {
        Self { speaks: rank == 0, ..Self::new(stop) }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Task>> {
        // A panic elsewhere while drawing is no reason to stop drawing.
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One line that does not tear a bar.
    pub fn line(&self, text: &str) {
        let tasks = self.tasks();
        match tasks.values().find_map(|task| task.bar.as_ref()) {
            Some(bar) => bar.suspend(|| write_line(text)),
            None => write_line(text),
        }
    }

    fn advance(&self, name: &str, done: u64, total: Option<u64>, unit: &'static str, detail: String) {
        let mut tasks = self.tasks();
        let live = self.live;
        let task = tasks.entry(name.to_owned()).or_insert_with(|| Task {
            bar: live.then(|| new_bar(name, total)),
            started: Instant::now(),
            first: done,
            printed: None,
            last: (done, total, unit, String::new()),
        });
        task.last = (done, total, unit, detail);
        if let Some(bar) = &task.bar {
            bar.set_position(done);
            bar.set_message(task.last.3.clone());
        } else if task.printed.unwrap_or(task.started).elapsed() >= PLAIN_INTERVAL {
            task.printed = Some(Instant::now());
            write_line(&format!("{name}: {}", plain(task)));
        }
    }

    fn done(&self, name: &str) {
        let Some(task) = self.tasks().remove(name) else { return };
        match task.bar {
            Some(bar) => bar.finish_and_clear(),
            // Short tasks are told of by the stage's own summary.
            None if task.printed.is_none() => {}
            None => write_line(&format!("{name}: {}", plain(&task))),
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event) {
        if !self.speaks {
            return;
        }
        match event {
            Event::Note(text) => self.line(&text),
            Event::Warning(text) => self.line(&format!("warning: {text}")),
            Event::Progress { task, done, total, unit, detail } => self.advance(&task, done, total, unit, detail),
            Event::Done { task } => self.done(&task),
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.requested()
    }
}

fn new_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{prefix} {bar:30} {human_pos}/{human_len} · {msg} · {eta} left",
        None => "{prefix} {spinner} {human_pos} · {msg} · {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

fn plain(task: &Task) -> String {
    let (done, total, unit, detail) = &task.last;
    let mut text = match total {
        Some(total) => format!("{done}/{total} {unit}"),
        None => format!("{done} {unit}"),
    };
    if !detail.is_empty() {
        text.push_str(" · ");
        text.push_str(detail);
    }
    if let Some(total) = total.filter(|total| total > done) {
        let advanced = done.saturating_sub(task.first);
        if advanced > 0 {
            let left = task.started.elapsed().mul_f64((total - done) as f64 / advanced as f64);
            text.push_str(&format!(" · {} left", HumanDuration(left)));
        }
    }
    text
}

fn write_line(text: &str) {
    // Nobody is left to tell when standard error is gone.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
