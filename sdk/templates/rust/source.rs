//! A source: so many greetings. Change `Reading::next` to read what you have.

use psann_sdk::prelude::*;

psann_sdk::options! {
    /// {summary}.
    pub struct HelloOptions {
        /// How many documents there are.
        count: u64 = 1000,
        /// Whom they greet.
        name: String = "world".to_owned(),
    }
}

/// The source. It is cheap to make: inputs are opened in `open`.
pub struct Hello {
    options: HelloOptions,
    host: Host,
}

impl Source for Hello {
    type Options = HelloOptions;
    type Reader = Reading;
    const NAME: &'static str = "{component}";

    fn new(options: HelloOptions, host: Host) -> Result<Self> {
        if options.name.is_empty() {
            return Err(Error::usage("option `name` is empty").hint("leave it out to greet the world"));
        }
        Ok(Self { options, host })
    }

    /// Pieces that can be read at the same time. Here there is one.
    fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(vec![Partition::new("greetings")])
    }

    /// `resume` is what `position` said, when a run that was stopped goes on.
    fn open(&self, partition: usize, resume: Option<&str>) -> Result<Reading> {
        if partition > 0 {
            return Err(Error::new(format!("there is no piece {partition}")));
        }
        let next = match resume {
            Some(next) => next.parse().map_err(|_| Error::new(format!("`{next}` is no place to go on from")))?,
            None => 0,
        };
        self.host.info(&format!("greeting from number {next} on"));
        Ok(Reading { options: self.options.clone(), next })
    }

    /// Changes when the content changes, so that psann knows to read again: for files their sizes and times.
    fn identity(&self) -> Result<String> {
        Ok("greetings, first edition".to_owned())
    }
}

/// What reads a piece.
pub struct Reading {
    options: HelloOptions,
    next: u64,
}

/// Documents that are handed over at once.
const BATCH: u64 = 256;

impl Reader for Reading {
    fn next(&mut self) -> Result<Option<Batch>> {
        let end = self.options.count.min(self.next + BATCH);
        if self.next >= end {
            return Ok(None);
        }
        let mut batch = Batch::default();
        for number in self.next..end {
            batch.push(&Document {
                text: format!("Hello, {}! This is greeting number {number}.", self.options.name),
                id: Some(number.to_string()),
                ..Document::default()
            });
        }
        self.next = end;
        Ok(Some(batch))
    }

    fn position(&self) -> String {
        self.next.to_string()
    }
}

psann_sdk::export_plugin! { id: "{id}", sources: [Hello] }
