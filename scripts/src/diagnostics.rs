//! What is wrong with a recipe, shown in its own lines.
//!
//! An evaluation goes on after a mistake that it can step over, such as a misspelt option, so one [`Diagnostics`]
//! usually holds everything that is wrong. Each part has a message, the places, and the way out.

use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use psann_core::error::Fault;

/// Width of rendered diagnostics: fixed, so that output does not depend on the terminal it was captured in.
const WIDTH: usize = 100;

/// One or several mistakes in a recipe, or in what was set from the command line.
#[derive(Debug)]
pub struct Diagnostics {
    findings: Vec<Finding>,
}

/// One mistake.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The text that the labels point into; without it the mistake has no place, as with a wrong `--set`.
    pub(crate) script: Option<NamedSource<Arc<str>>>,
    /// The first is the one that the heading names.
    pub(crate) labels: Vec<LabeledSpan>,
}

impl Diagnostics {
    /// In the order of the text, each once.
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(Finding::place);
        findings.dedup_by(|a, b| a.place() == b.place() && a.message == b.message);
        Self { findings }
    }

    /// Whose fault it is: a recipe or a command line is always the user's to mend.
    pub fn fault(&self) -> Fault {
        Fault::Usage
    }

    /// The messages alone, in the order of the text.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.findings.iter().map(|finding| finding.message.as_str())
    }

    /// The mistakes with the lines they are in, as a terminal shows them.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(WIDTH)
            .with_context_lines(1)
            .with_links(false)
            .with_primary_span_start()
            .without_syntax_highlighting();
        let mut text = String::new();
        for (index, finding) in self.findings.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            if handler.render_report(&mut text, finding).is_err() {
                text.push_str(&finding.to_string());
            }
        }
        // The handler pads lines; what is captured in logs and tests should not end in spaces.
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n") + "\n"
    }
}

impl Finding {
    /// Where it sorts: by script, then by place.
    fn place(&self) -> (Option<String>, usize) {
        let name = self.script.as_ref().map(|script| script.name().to_owned());
        (name, self.labels.first().map_or(0, LabeledSpan::offset))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl miette::Diagnostic for Diagnostics {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.only().and_then(miette::Diagnostic::help)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.only().and_then(miette::Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.only().and_then(miette::Diagnostic::labels)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        match self.only() {
            Some(_) => None,
            None => Some(Box::new(self.findings.iter().map(|finding| finding as &dyn miette::Diagnostic))),
        }
    }
}

impl Diagnostics {
    fn only(&self) -> Option<&Finding> {
        match self.findings.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl miette::Diagnostic for Finding {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.script.as_ref().map(|script| script as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() { None } else { Some(Box::new(self.labels.iter().cloned())) }
    }
}
