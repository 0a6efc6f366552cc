//! Whether two results were asked the same, and if not, what differs.

use psann_core::{Error, Result};
use serde_json::Value;

use super::Side;

/// # Errors
/// When the task's hash differs, or sample files are missing or do not belong together.
pub fn same_questions(task: &str, first: &Side<'_>, second: &Side<'_>) -> Result<()> {
    let hash = |side: &Side<'_>| side.results["task_hashes"][task].as_str().map(str::to_owned);
    let (Some(one), Some(other)) = (hash(first), hash(second)) else {
        let name = if hash(first).is_none() { first.name } else { second.name };
        return Err(Error::usage(format!("`{name}` has no hash of task `{task}`, so nothing shows what was asked"))
            .hint("hashes are written when samples are logged"));
    };
    if one != other {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        return Err(Error::usage(format!(
            "`{}` and `{}` were asked different things in task `{task}`: its hashes are {} and {}",
            first.name,
            second.name,
            short(&one),
            short(&other)
        ))
        .hint(reason(task, first, second)));
    }
    let count = |side: &Side<'_>| side.samples.get(task).map_or(0, Vec::len);
    if count(first) == 0 || count(first) != count(second) {
        return Err(Error::usage(format!(
            "the sample files of task `{task}` have {} and {} documents",
            count(first),
            count(second)
        ))
        .hint("take the sample files that were written with the results"));
    }
    Ok(())
}

/// What differs, as far as the files tell.
fn reason(task: &str, first: &Side<'_>, second: &Side<'_>) -> String {
    let at = |side: &Side<'_>, path: &[&str]| path.iter().fold(side.results.clone(), |value, key| value[key].clone());
    let settings: [(&str, &[&str]); 7] = [
        ("the number of examples", &["n-shot", task]),
        ("the version of the task", &["versions", task]),
        ("the limit", &["config", "limit"]),
        ("the seed of the examples", &["config", "fewshot_seed"]),
        ("the system instruction", &["system_instruction"]),
        ("the chat template", &["chat_template_sha"]),
        ("the way examples become turns", &["fewshot_as_multiturn"]),
    ];
    let differs = |(name, path): (&'static str, &[&str])| {
        let (one, other) = (at(first, path), at(second, path));
        (one != other).then(|| match (&one, &other) {
            (Value::Number(_) | Value::Bool(_) | Value::Null, Value::Number(_) | Value::Bool(_) | Value::Null) => {
                format!("{name} ({one} and {other})")
            }
            _ => name.to_owned(),
        })
    };
    let differing: Vec<String> = settings.into_iter().filter_map(differs).collect();
    if !differing.is_empty() {
        return format!("what differs: {}", differing.join(", "));
    }
    let (Some(of_first), Some(of_second)) = (first.samples.get(task), second.samples.get(task)) else {
        return "evaluate both with the same documents and options".to_owned();
    };
    let part = |name: &str| of_first.iter().zip(of_second).find(|(one, other)| one[name] != other[name]);
    for (name, what) in [("doc_hash", "document"), ("prompt_hash", "prompt"), ("target_hash", "target")] {
        if let Some((sample, _)) = part(name) {
            return format!("the first {what} that differs is that of document {}", sample["doc_id"]);
        }
    }
    "they have different numbers of documents".to_owned()
}
