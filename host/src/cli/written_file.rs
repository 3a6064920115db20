//! Files that commands write what came of them to.

use std::fs;
use std::io;
use std::path::Path;

/// Checks, before the work that a command is there for, that a file can be written after it. The file stays as it is.
pub(crate) fn can_be_written(file: &Path) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => fs::OpenOptions::new().append(true).open(file).map(drop),
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // To open a pipe would wait for its reader.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::OpenOptions::new().write(true).create_new(true).open(file)?;
            fs::remove_file(file)
        }
        Err(error) => Err(error),
    }
}
