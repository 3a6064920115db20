//! What lies next to a file of dead letters: which of them were retried, and the state of a retry under way.
//!
//! Owns the names. Where a pipeline keeps state, that has the last word on what was retried; the note is for people, and for
//! pipelines that keep none.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use dirigo_flow::{DeadLetter, IdRanges};

/// The state directory of a retry of letters whose pipeline keeps no state.
pub(super) fn private_state(letters: &Path) -> PathBuf {
    hidden(letters, "retry")
}

/// The file that notes which letters were retried.
fn note(letters: &Path) -> PathBuf {
    hidden(letters, "retried")
}

fn hidden(letters: &Path, ending: &str) -> PathBuf {
    let name = letters.file_name().unwrap_or_default().to_string_lossy();
    letters.with_file_name(format!(".{name}.{ending}"))
}

/// Which letters of a file were retried, as far as that is noted next to it.
pub(super) fn retried(letters: &Path) -> IdRanges {
    let text = std::fs::read(note(letters)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Notes which letters of a file were retried. The note is replaced as a whole.
pub(super) fn note_retried(letters: &Path, ids: &IdRanges) -> io::Result<()> {
    let json = serde_json::to_vec(ids).expect("ranges are plain JSON");
    let new = hidden(letters, "retried.new");
    // What an interrupted retry left goes. Nothing is written through a link that is there instead.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(&new)?.write_all(&json)?;
    std::fs::rename(&new, note(letters))
}

/// Forgets what was retried: the file begins anew, and so do the ids.
pub(super) fn forget_retries(letters: &Path) -> io::Result<()> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match std::fs::remove_file(note(letters)) {
        Err(error) if !is_missing(&error) => return Err(error),
        _ => {}
    }
    match std::fs::remove_dir_all(private_state(letters)) {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The id that follows those in a file.
pub(super) fn next_id(letters: &Path) -> io::Result<u64> {
    let mut next = 1;
    for line in BufReader::new(File::open(letters)?).split(b'\n') {
        if let Ok(letter) = serde_json::from_slice::<DeadLetter>(&line?) {
            next = next.max(letter.id.saturating_add(1));
        }
    }
    Ok(next)
}
