//! Complaints about a config, for a person or a program. It knows where a place is in its file, nothing of what is wrong.

use std::fmt::Write as _;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, NamedSource,
    SourceCode, SourceSpan, SpanContents,
};
use sawlog_settings::component::Severity;
use sawlog_settings::decode::Complaint;
use sawlog_settings::node::Place;
use serde::Serialize;

use crate::config::files::Files;

/// Width of the drawn snippets, in characters; fixed, so that a report reads the same everywhere.
const WIDTH_CHARS: usize = 110;

/// A file that is shown by whole lines, whatever part of a line is asked for.
#[derive(Debug)]
struct Lines(NamedSource<String>);

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.0.inner();
        let start = text.get(..span.offset()).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
        let end = (span.offset() + span.len()).max(start);
        let end = text.get(end..).and_then(|text| text.find('\n')).map_or(text.len(), |at| end + at);
        let lines = self.0.read_span(&SourceSpan::new(start.into(), end - start), before, after)?;
        // The heading of a snippet names the column of what was asked for, not of its line.
        let column = text.get(start..span.offset()).map_or(0, |before| before.chars().count());
        let shown = SourceSpan::new(lines.span().offset().into(), lines.span().len());
        let name = self.0.name().to_owned();
        Ok(Box::new(MietteSpanContents::new_named(name, lines.data(), shown, lines.line(), column, lines.line_count())))
    }
}

/// One complaint as miette draws it.
#[derive(Debug)]
struct Drawn {
    complaint: Complaint,
    source: Lines,
    /// The second place, where it stands in another file.
    elsewhere: Option<Box<Drawn>>,
}

impl std::fmt::Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.complaint.reason)
    }
}

impl std::error::Error for Drawn {}

impl Diagnostic for Drawn {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.complaint.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.complaint.mend.as_ref().map(|mend| Box::new(mend) as Box<dyn std::fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label =
            |place: &Place, text: Option<String>| LabeledSpan::new(text, place.start as usize, place.len as usize);
        let also = self.complaint.also.iter().filter(|(place, _)| place.file == self.complaint.place.file);
        let also = also.map(move |(place, what)| label(place, Some(what.clone())));
        Some(Box::new(std::iter::once(label(&self.complaint.place, Some("here".to_owned()))).chain(also)))
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let elsewhere = self.elsewhere.as_deref()?;
        Some(Box::new(std::iter::once(elsewhere as &dyn Diagnostic)))
    }
}

/// What is said of a secret that stands in the config itself: no report draws it.
pub const CLEAR_SECRET: &str = "a secret stands in the config in the clear";

/// The files as they may be drawn.
fn without_secrets(complaints: &[Complaint], files: &Files) -> Files {
    let mut files = files.clone();
    for Place { file, start, len, .. } in complaints.iter().filter(|c| c.reason == CLEAR_SECRET).map(|c| c.place) {
        let range = start as usize..(start + len) as usize;
        let text = files.files.get_mut(file as usize).map(|file| &mut file.text);
        if let Some(text) = text.filter(|text| text.get(range.clone()).is_some()) {
            text.replace_range(range, &"*".repeat(len as usize));
        }
    }
    files
}

fn draw(complaint: &Complaint, files: &Files) -> Drawn {
    let file = files.files.get(complaint.place.file as usize);
    let source = Lines(NamedSource::new(
        file.map_or_else(String::new, |file| file.path.display().to_string()),
        file.map_or_else(String::new, |file| file.text.clone()),
    ));
    let elsewhere =
        complaint.also.as_ref().filter(|(place, _)| place.file != complaint.place.file).map(|(place, what)| {
            let first =
                Complaint { severity: complaint.severity, place: *place, reason: what.clone(), mend: None, also: None };
            Box::new(draw(&first, files))
        });
    Drawn { complaint: complaint.clone(), source, elsewhere }
}

/// All complaints with their snippets and carets, and a line that counts them.
pub fn text(complaints: &[Complaint], files: &Files) -> String {
    let theme = GraphicalTheme::unicode_nocolor();
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(WIDTH_CHARS).without_cause_chain().with_context_lines(0);
    let (mut report, files) = (String::new(), without_secrets(complaints, files));
    for complaint in complaints {
        // Drawing fails only where writing to a string fails.
        if handler.render_report(&mut report, &draw(complaint, &files)).is_err() {
            report.push_str(&complaint.reason);
        }
        report.push('\n');
    }
    let count = |severity| complaints.iter().filter(|complaint| complaint.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if writeln!(report, "{}, {}", counted(errors, "error"), counted(warnings, "warning")).is_err() {
        unreachable!("a string takes every write");
    }
    report
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A complaint for a program.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// `error` or `warning`.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
    /// How to mend it.
    pub mend: Option<String>,
}

/// All complaints for a program.
pub fn machine(complaints: &[Complaint], files: &Files) -> Vec<Machine> {
    complaints
        .iter()
        .map(|complaint| {
            let file = files.files.get(complaint.place.file as usize);
            let before = file.and_then(|file| file.text.get(..complaint.place.start as usize)).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            Machine {
                severity: complaint.severity,
                file: file.map_or_else(String::new, |file| file.path.display().to_string()),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                reason: complaint.reason.clone(),
                mend: complaint.mend.clone(),
            }
        })
        .collect()
}
