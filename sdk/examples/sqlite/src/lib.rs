//! A source: the rows of a table of an SQLite database.
//!
//! Rows come in the order of SQLite's own row numbers, which makes resuming exact: the position behind a batch is the
//! number of its last row. Several pieces are ranges of those numbers.

use psann_sdk::prelude::*;
use rusqlite::{Connection, OpenFlags, Row};

psann_sdk::options! {
    /// Documents from a table of an SQLite database.
    pub struct SqliteOptions {
        /// The database.
        #[schemars(extend("x-path" = true))]
        path: Option<String> = None,
        /// The table.
        table: String = "documents".to_owned(),
        /// Its column with the text.
        text: String = "text".to_owned(),
        /// Its column with an identifier; the row's number if not given.
        id: Option<String> = None,
        /// Its column with the address that the text came from.
        url: Option<String> = None,
        /// Pieces that are read at the same time.
        #[schemars(range(min = 1))]
        pieces: u64 = 1,
    }
}

/// The source.
pub struct Sqlite {
    path: String,
    options: SqliteOptions,
    host: Host,
}

/// Rows that are read at once.
const BATCH: usize = 512;

impl Source for Sqlite {
    type Options = SqliteOptions;
    type Reader = Rows;
    const NAME: &'static str = "sqlite";
    const PRIMARY: Option<&'static str> = Some("path");

    fn new(options: SqliteOptions, host: Host) -> Result<Self> {
        let path = options.path.clone().ok_or_else(|| {
            Error::usage("option `path` is missing").hint("name the database: `path: \"articles.db\"`")
        })?;
        if options.pieces == 0 {
            return Err(Error::usage("option `pieces` must be at least 1, found 0"));
        }
        Ok(Self { path, options, host })
    }

    fn partitions(&self) -> Result<Vec<Partition>> {
        let (first, last) = self.range()?;
        let bytes = std::fs::metadata(&self.path).map_or(0, |about| about.len()) / self.options.pieces;
        let piece = |(start, end)| Partition { name: format!("{}, rows {start} to {end}", self.options.table), bytes };
        Ok(pieces(first, last, self.options.pieces).into_iter().map(piece).collect())
    }

    fn open(&self, partition: usize, resume: Option<&str>) -> Result<Rows> {
        let (first, last) = self.range()?;
        let (start, end) = *pieces(first, last, self.options.pieces)
            .get(partition)
            .ok_or_else(|| Error::new(format!("there is no piece {partition} of `{}`", self.path)))?;
        let after = match resume {
            Some(row) => {
                row.parse().map_err(|_| Error::usage(format!("`{row}` is no row of `{}` to go on from", self.path)))?
            }
            None => start - 1,
        };
        Ok(Rows {
            database: self.connect()?,
            query: self.query(),
            path: self.path.clone(),
            after,
            end,
            host: self.host,
        })
    }

    fn identity(&self) -> Result<String> {
        let about = std::fs::metadata(&self.path).map_err(|e| cannot(&self.path, &e))?;
        let changed = about.modified().map_err(|e| cannot(&self.path, &e))?;
        let since = changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(format!("{} {} {since}", self.path, about.len()))
    }
}

impl Sqlite {
    fn connect(&self) -> Result<Connection> {
        Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| cannot(&self.path, &e))
    }

    /// The first and the last row's number.
    fn range(&self) -> Result<(i64, i64)> {
        let query = format!("SELECT min(rowid), max(rowid) FROM {}", quoted(&self.options.table));
        let numbers = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (first, last) = self.connect()?.query_row(&query, [], numbers).map_err(|e| cannot(&self.path, &e))?;
        Ok((first.unwrap_or(1), last.unwrap_or(0)))
    }

    fn query(&self) -> String {
        let SqliteOptions { table, text, id, url, .. } = &self.options;
        let column = |name: &Option<String>| name.as_ref().map_or("NULL".to_owned(), |name| quoted(name));
        format!(
            "SELECT rowid, {}, {}, {} FROM {} WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT {BATCH}",
            quoted(text),
            column(id),
            column(url),
            quoted(table)
        )
    }
}

/// A name as SQL writes it; a name that is no column would otherwise be taken for a text.
fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', ""))
}

fn cannot(path: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(format!("cannot read the database `{path}`: {error}"))
        .hint("check `path`, `table` and the names of the columns")
}

/// Ranges of row numbers, of about equal size.
fn pieces(first: i64, last: i64, count: u64) -> Vec<(i64, i64)> {
    let rows = (last - first + 1).max(0) as u64;
    let place = |piece: u64| first + (u128::from(rows) * u128::from(piece) / u128::from(count)) as i64;
    (0..count.min(rows)).map(|piece| (place(piece), place(piece + 1) - 1)).filter(|(start, end)| start <= end).collect()
}

/// What reads a range of rows.
pub struct Rows {
    database: Connection,
    query: String,
    path: String,
    /// The last row that was read.
    after: i64,
    end: i64,
    host: Host,
}

impl Reader for Rows {
    fn next(&mut self) -> Result<Option<Batch>> {
        let wrong = |e: rusqlite::Error| cannot(&self.path, &e);
        let mut query = self.database.prepare_cached(&self.query).map_err(wrong)?;
        let mut rows = query.query([self.after, self.end]).map_err(wrong)?;
        let mut batch = Batch::default();
        let mut after = self.after;
        while let Some(row) = rows.next().map_err(wrong)? {
            after = row.get(0).map_err(wrong)?;
            let id: Option<String> = row.get(2).map_err(wrong)?;
            let text: Option<String> = row.get(1).map_err(wrong)?;
            let Some(text) = text else {
                // Rows without a text are no documents; the report says how many there were.
                self.host.metric("rows without a text", 1.0);
                continue;
            };
            let id = Some(id.unwrap_or_else(|| after.to_string()));
            batch.push(&Document { text, id, url: row.get(3).map_err(wrong)?, ..Document::default() });
        }
        let moved = after > self.after;
        self.after = after;
        match (batch.is_empty(), moved) {
            (false, _) => Ok(Some(batch)),
            // Nothing but rows without a text: there may be others behind them.
            (true, true) => {
                self.host.check()?;
                drop(rows);
                drop(query);
                self.next()
            }
            (true, false) => Ok(None),
        }
    }

    fn position(&self) -> String {
        self.after.to_string()
    }
}

psann_sdk::export_plugin! { id: "org.psann.sqlite", sources: [Sqlite] }
