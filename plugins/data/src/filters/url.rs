//! `url`: documents from addresses that nobody wants to learn from.

use std::collections::BTreeSet;
use std::fs;

use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address;
use crate::sources::files::Paths;

psann_core::register!(Filter, "url", UrlOptions, Url::new, primary = "blocklist");

/// Drops documents whose address is on a list of hosts, pages or words, or is no web address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UrlOptions {
    /// Files with one host (`example.com`, which covers its subdomains) or address a line; `#` starts a comment.
    #[schemars(extend("x-path" = true))]
    pub blocklist: Option<Paths>,
    /// Words that no address may contain between two marks, such as `casino`.
    pub words: Vec<String>,
    /// Drop documents that have an address which is none.
    pub invalid: bool,
    /// Drop documents that have no address.
    pub missing: bool,
}

const REASONS: [&str; 5] =
    ["host is blocked", "page is blocked", "address has a blocked word", "invalid address", "no address"];

/// The filter.
#[derive(Debug)]
pub struct Url {
    options: UrlOptions,
    hosts: BTreeSet<String>,
    pages: BTreeSet<String>,
    lists: Vec<String>,
}

impl Url {
    /// Reads the lists.
    ///
    /// # Errors
    /// When a list is missing, or nothing would ever be dropped.
    pub fn new(options: UrlOptions) -> Result<Self> {
        let lists: Vec<String> = match &options.blocklist {
            None => Vec::new(),
            Some(Paths::One(list)) => vec![list.clone()],
            Some(Paths::Many(lists)) => lists.clone(),
        };
        if lists.is_empty() && options.words.is_empty() && !options.invalid && !options.missing {
            return Err(Error::usage("no rule is given")
                .hint("give `blocklist` or `words`, or switch on `invalid` or `missing`"));
        }
        let (mut hosts, mut pages) = (BTreeSet::new(), BTreeSet::new());
        for list in &lists {
            for line in read(list)?.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
                if let Some(page) = address::normal(line) {
                    pages.insert(page);
                } else if line.contains('/') {
                    // `example.com/a` is a page without its scheme.
                    let with = |scheme: &str| address::normal(&format!("{scheme}://{line}"));
                    pages.extend(["http", "https"].into_iter().filter_map(with));
                } else if !line.is_empty() {
                    hosts.insert(line.trim_start_matches("www.").to_lowercase());
                }
            }
        }
        Ok(Self { options, hosts, pages, lists })
    }

    fn judge(&self, url: Option<&str>) -> Option<u16> {
        let Some(url) = url else { return self.options.missing.then_some(4) };
        let Some(normal) = address::normal(url) else { return self.options.invalid.then_some(3) };
        let host = address::host_of(&normal);
        let mut parents = std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, parent)| parent));
        if parents.any(|host| self.hosts.contains(host)) {
            return Some(0);
        }
        if self.pages.contains(&normal) {
            return Some(1);
        }
        let lower = normal.to_lowercase();
        let mut parts = lower.split(|c: char| !c.is_alphanumeric());
        parts.any(|part| self.options.words.iter().any(|word| word.to_lowercase() == part)).then_some(2)
    }
}

fn read(list: &str) -> Result<String> {
    fs::read_to_string(list).map_err(|e| Error::new(format!("cannot read the list `{list}`")).because(e))
}

impl Filter for Url {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn column(&self) -> Option<&'static str> {
        (!self.options.missing).then_some("url")
    }

    fn identity(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for list in &self.lists {
            hasher.update(read(list)?.as_bytes());
        }
        Ok(if self.lists.is_empty() { String::new() } else { hasher.finalize().to_hex().to_string() })
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        for row in 0..batch.len() {
            verdicts.dropped[row] = self.judge(batch.optional("url", row));
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_cover_their_subdomains_and_pages_only_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "# bad\nBad.example\nhttps://fine.example/bad/\nother.example/x # a page\n\n").unwrap();
        let filter = Url::new(UrlOptions {
            blocklist: Some(Paths::One(list.display().to_string())),
            words: vec!["casino".into()],
            ..UrlOptions::default()
        })
        .unwrap();
        let reason = |url: &str| filter.judge(Some(url)).map(|code| REASONS[usize::from(code)]);
        assert_eq!(reason("http://www.a.bad.example/x"), Some("host is blocked"));
        assert_eq!(reason("http://notbad.example/x"), None);
        assert_eq!(reason("https://fine.example/bad?utm_source=1"), Some("page is blocked"));
        assert_eq!(reason("http://other.example/x"), Some("page is blocked"));
        assert_eq!(reason("https://fine.example/best-casino-tips"), Some("address has a blocked word"));
        assert_eq!(reason("https://fine.example/casinos"), None);
        assert_eq!(filter.judge(None), None);
    }

    #[test]
    fn a_filter_that_would_do_nothing_is_an_error() {
        assert!(Url::new(UrlOptions::default()).is_err());
        let missing = UrlOptions { blocklist: Some(Paths::One("/no/such/list".into())), ..UrlOptions::default() };
        assert!(Url::new(missing).unwrap_err().to_string().contains("/no/such/list"));
    }
}
