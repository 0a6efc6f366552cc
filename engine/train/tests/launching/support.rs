//! Ranks that are shell scripts, launched by the test itself or by a process that can be sent signals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use psann_core::{Event, Observer, Result};
use psann_train::launch::{Exit, LaunchOptions, follow_launcher, launch};
use tempfile::TempDir;

/// What the copy of this test binary is to do.
const ACT: &str = "PSANN_TEST_ACT";

/// The number of ranks that such a launcher starts, and their script; without one the ranks are copies of this binary.
const RANKS: &str = "PSANN_TEST_RANKS";
const SCRIPT: &str = "PSANN_TEST_SCRIPT";

/// What a launch printed and how it ended.
pub struct Launched {
    pub exit: Exit,
    pub output: Vec<u8>,
    pub warnings: Vec<String>,
}

impl Launched {
    /// Forwarded lines of a rank, without their prefix.
    pub fn lines(&self, rank: usize) -> Vec<String> {
        let prefix = format!("[rank {rank}] ");
        let text = String::from_utf8_lossy(&self.output);
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    /// `message / hint` of the error.
    pub fn error(&self) -> String {
        let error = self.exit.error.as_ref().unwrap();
        format!("{error} / {}", error.hint_text().unwrap())
    }
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

/// Options for ranks that run `script`.
pub fn options(ranks: usize, script: &str) -> LaunchOptions {
    let mut options = LaunchOptions::this_program(ranks).unwrap();
    options.program = "/bin/sh".into();
    options.arguments = vec!["-c".into(), script.into()];
    options.grace = Duration::from_mins(1);
    options
}

pub fn run(options: &LaunchOptions) -> Result<Launched> {
    let (mut output, warnings) = (Vec::new(), Warnings::default());
    let exit = launch(options, &mut output, &warnings)?;
    Ok(Launched { exit, output, warnings: warnings.0.into_inner().unwrap() })
}

pub fn run_script(ranks: usize, script: &str) -> Launched {
    run(&options(ranks, script)).unwrap()
}

/// A folder where ranks leave marks for the test.
pub struct Marks(TempDir);

impl Marks {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// The process number in a mark that a rank wrote as a whole.
    pub fn pid(&self, name: &str) -> u32 {
        wait_until(|| fs::read_to_string(self.path().join(name)).is_ok_and(|text| text.ends_with('\n')));
        self.read(name).trim().parse().unwrap()
    }

    /// A pipe with a name: reading waits for a writer.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

/// Starts a process that launches `ranks` of `script` in the folder of `marks`; without a script the ranks are copies of
/// this binary that start a process of their own and work for ever.
pub fn launcher(ranks: usize, script: Option<&str>, marks: &Marks) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "launching::support::act", "--nocapture", "--quiet"]).current_dir(marks.path());
    command.env(ACT, "launcher").env(RANKS, ranks.to_string());
    if let Some(script) = script {
        command.env(SCRIPT, script);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Does nothing in a run of the tests: the other half of [`launcher`].
#[test]
#[expect(clippy::exit, reason = "the exit code is what is tested")]
fn act() {
    match std::env::var(ACT).as_deref() {
        Ok("launcher") => {
            let ranks = std::env::var(RANKS).unwrap().parse().unwrap();
            let options = match std::env::var(SCRIPT) {
                Ok(script) => options(ranks, &script),
                Err(_) => LaunchOptions {
                    environment: vec![(ACT.into(), "rank".into())],
                    ..LaunchOptions::this_program(ranks).unwrap()
                },
            };
            let exit = launch(&options, &mut std::io::stderr(), &Warnings::default()).unwrap();
            std::process::exit(i32::from(exit.code));
        }
        Ok("rank") => {
            follow_launcher(&|name| std::env::var(name).ok()).unwrap();
            let rank = std::env::var("RANK").unwrap();
            let mut own =
                Command::new("sleep").arg("100000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            fs::write(format!("own-{rank}"), format!("{}\n", own.id())).unwrap();
            fs::write(format!("rank-{rank}"), format!("{}\n", std::process::id())).unwrap();
            own.wait().unwrap();
        }
        _ => {}
    }
}

pub fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// One letter for what the process is doing (`T` is stopped); none when it is gone or waits to be reaped.
pub fn state(pid: u32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(") ")?.1.chars().next().filter(|state| !"ZX".contains(*state))
}

pub fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}
