//! What is said about pipeline files: to people on standard error, to programs on standard output.

use std::io::IsTerminal as _;

use dirigo_pipeline::Diagnostics;

use super::output::{self, Format};

/// Says what was found.
///
/// # Errors
/// If standard output cannot be written.
pub fn diagnostics(found: &Diagnostics, format: Format) -> std::io::Result<()> {
    match format {
        Format::Json => output::print_json(found),
        Format::Text => {
            let rendered = found.render(wants_color());
            if !rendered.is_empty() {
                eprintln!("{}", rendered.trim_end());
            }
            Ok(())
        }
    }
}

/// Says what was found about several files; to programs in one list.
///
/// # Errors
/// If standard output cannot be written.
pub fn all(found: &[Diagnostics], format: Format) -> std::io::Result<()> {
    match format {
        Format::Json => output::print_json(&joined(found)),
        Format::Text => found.iter().try_for_each(|found| diagnostics(found, format)),
    }
}

/// The findings about several files as one list.
#[must_use]
pub fn joined(found: &[Diagnostics]) -> Vec<serde_json::Value> {
    let lists = found
        .iter()
        .map(|found| serde_json::to_value(found).expect("findings are plain JSON"));
    lists
        .flat_map(|list| list.as_array().cloned().unwrap_or_default())
        .collect()
}

/// Whether standard error is a terminal whose user did not ask for no colours.
#[must_use]
pub fn wants_color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
