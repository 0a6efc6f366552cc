//! Guides do what they say: their commands are run, one after the other.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::support::Scratch;

/// The commands (`$ …`) in the console blocks of a guide, and its recipes under the name of the next `psann recipe`.
fn steps(guide: &str) -> (Vec<String>, Vec<String>) {
    let (mut commands, mut recipes) = (Vec::new(), Vec::new());
    let mut block: Option<(&str, String)> = None;
    for line in guide.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind, String::new())),
            (Some(_), Some(_)) => {
                let (kind, text) = block.take().unwrap();
                match kind {
                    "console" => {
                        commands.extend(text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned));
                    }
                    "rhai" => recipes.push(text),
                    _ => {}
                }
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    (commands, recipes)
}

/// The guide takes someone from nothing to a plugin that is used.
#[test]
#[expect(clippy::print_stderr, reason = "what a test leaves out is said loudly")]
fn every_command_of_the_plugin_guide_works() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plugins.md")).unwrap();
    let (commands, recipes) = steps(&guide);
    assert!(commands.len() > 12 && recipes.len() == 1, "{commands:?}");
    let scratch = Scratch::new();
    scratch.write("greetings.rhai", &recipes[0]);
    // `psann` is on the user's path.
    let bin = scratch.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_psann"), bin.join("psann")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // What the crates depend on is compiled once for all tests, and not optimised.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates");
    fs::create_dir_all(&target).unwrap();
    let mut listed = String::new();
    for command in &commands {
        if command.contains("libhello_source.so") && std::env::consts::DLL_SUFFIX != ".so" {
            eprintln!("SKIPPED: `{command}` names a library of Linux");
            return;
        }
        let output = Command::new("sh")
            .args(["-euc", command])
            .current_dir(scratch.path())
            .env("PATH", &path)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "$ {command}\n{out}{err}");
        if command.starts_with("psann plugin new hello-source") {
            symlink(&target, scratch.path().join("hello-source/target")).unwrap();
        }
        listed = if command == "psann plugin list" { out.into_owned() } else { listed };
    }
    assert!(listed.contains("org.hello"), "{listed}");
    assert!(scratch.path().join("runs/greetings").is_dir());
}
