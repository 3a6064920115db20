//! Draws diagnostics as a compiler does: message, file, line, caret, help.
//!
//! Owns the look. Does not know what the problems are about. What is quoted in them is made fit for a terminal; of the file's
//! text, the renderer sees to that.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::{Diagnostic, LabelledSpan, Severity};
use super::span::{Origin, Texts};
use dirigo_ground::printable::line;

pub(super) fn render(texts: &Texts, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let drawn: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| renderer.render(&[group(texts, diagnostic)]))
        .collect();
    drawn.join("\n\n")
}

fn group<'a>(texts: &'a Texts, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(line(&diagnostic.message)));
    let span_index = || diagnostic.mark.iter().chain(&diagnostic.also);
    for mark in span_index() {
        if let Origin::Override(index) = mark.place.origin {
            group = group.element(Level::NOTE.message(said_of_override(texts, index, &mark.label)));
        }
    }
    if span_index().any(|mark| mark.place.origin == Origin::File) {
        group = group.element(snippet(texts, diagnostic));
    } else if diagnostic.mark.is_none() {
        group = group.element(annotate_snippets::Origin::path(line(&texts.file)));
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(line(help))),
        None => group,
    }
}

fn said_of_override(texts: &Texts, index: usize, label: &str) -> String {
    let (text, label) = (line(&texts.overrides[index]), line(label));
    if label.is_empty() {
        format!("in `-s {text}`")
    } else {
        format!("in `-s {text}`: {label}")
    }
}

fn snippet<'a>(texts: &'a Texts, diagnostic: &'a Diagnostic) -> Snippet<'a, Annotation<'a>> {
    let in_file = |mark: &&LabelledSpan| mark.place.origin == Origin::File;
    let primary = diagnostic
        .mark
        .iter()
        .filter(in_file)
        .map(|mark| annotation(AnnotationKind::Primary, texts, mark));
    let also = diagnostic
        .also
        .iter()
        .filter(in_file)
        .map(|mark| annotation(AnnotationKind::Context, texts, mark));
    Snippet::source(&texts.text)
        .path(line(&texts.file))
        .annotations(primary.chain(also))
}

fn annotation<'a>(kind: AnnotationKind, texts: &Texts, mark: &'a LabelledSpan) -> Annotation<'a> {
    // A value that spans lines is marked on its first line: a caret, not a bracket down the page.
    let span = mark.place.span();
    let line_end = texts.text[span.start..span.end]
        .find(['\r', '\n'])
        .map_or(span.end, |newline| span.start + newline);
    kind.span(span.start..line_end).label(line(&mark.label))
}
