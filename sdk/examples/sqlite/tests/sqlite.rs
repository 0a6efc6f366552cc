//! The source alone, and the library as psann sees it.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use psann_example_sqlite::{Sqlite, SqliteOptions, psann_plugin_v1};
use psann_sdk::testing;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

/// A database with so many articles, of which every 50th has no text.
fn database(rows: usize) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("articles.db").display().to_string();
    let mut database = Connection::open(&path).unwrap();
    database.execute("CREATE TABLE articles (body TEXT, link TEXT)", []).unwrap();
    let transaction = database.transaction().unwrap();
    for row in 1..=rows {
        let body = (row % 50 != 0).then(|| format!("Article {row}."));
        let values = (body, format!("https://example.org/{row}"));
        transaction.execute("INSERT INTO articles VALUES (?1, ?2)", values).unwrap();
    }
    transaction.commit().unwrap();
    (folder, path)
}

fn options(path: &str) -> SqliteOptions {
    SqliteOptions {
        path: Some(path.to_owned()),
        table: "articles".into(),
        text: "body".into(),
        url: Some("link".into()),
        ..SqliteOptions::default()
    }
}

#[test]
fn rows_are_documents() {
    let (_folder, path) = database(1200);
    let one = testing::read::<Sqlite>(options(&path)).unwrap();
    assert_eq!(one.len(), 1200 - 24);
    assert_eq!((one[0].text.as_str(), one[0].id.as_deref()), ("Article 1.", Some("1")));
    assert_eq!(one[49].url.as_deref(), Some("https://example.org/51"));
    let several = testing::read::<Sqlite>(SqliteOptions { pieces: 7, ..options(&path) }).unwrap();
    assert_eq!(several, one);
    let (_folder, path) = database(0);
    assert!(testing::read::<Sqlite>(options(&path)).unwrap().is_empty());
}

#[test]
fn what_is_wrong_is_said() {
    let (_folder, path) = database(3);
    let error = testing::read::<Sqlite>(SqliteOptions::default()).unwrap_err();
    assert_eq!(error.message, "option `path` is missing");
    let error = testing::read::<Sqlite>(SqliteOptions { text: "bdoy".into(), ..options(&path) }).unwrap_err();
    assert!(error.message.contains("no such column: bdoy"), "{error}");
    let error = testing::read::<Sqlite>(options("/nowhere/articles.db")).unwrap_err();
    assert!(error.message.starts_with("cannot read the database `/nowhere/articles.db`"), "{error}");
}

#[test]
fn the_library_conforms() {
    let (_folder, path) = database(3000);
    let given = json!({ "path": path, "table": "articles", "text": "body", "pieces": 2 });
    testing::assert_conforms(psann_plugin_v1, &[("sqlite", given)]);
}
