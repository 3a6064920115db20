//! Small files that say something across crashes: whole, or not at all.

use std::io;
use std::path::{Path, PathBuf};

use dirigo_disk::{Disk, Mode, PathKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a file says, if it is there.
///
/// # Errors
/// When the disk fails, or the file says something else.
pub fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> io::Result<Option<T>> {
    let PathKind::File(_) = disk.look(path)? else {
        return Ok(None);
    };
    let file = disk.open(path, Mode::Existing)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Has the file `name` of a folder say something, durably. It is written under another name first.
///
/// # Errors
/// When the disk fails.
pub fn write<T: Serialize>(disk: &dyn Disk, folder: &Path, name: &str, note: &T) -> io::Result<()> {
    disk.make_folder(folder)?;
    let unfinished = folder.join(format!("{name}.new"));
    let file = disk.open(&unfinished, Mode::Make)?;
    file.set_len(0)?;
    file.write_at(0, &serde_json::to_vec(note)?)?;
    file.sync()?;
    disk.rename(&unfinished, &folder.join(name))?;
    disk.sync_folder(folder)?;
    // The folder may be new, and the one above it, too.
    let above = folder
        .ancestors()
        .skip(1)
        .take(2)
        .filter(|above| !above.as_os_str().is_empty());
    above
        .map(Path::to_owned)
        .try_for_each(|above: PathBuf| disk.sync_folder(&above))
}

/// Removes the file, if it is there.
///
/// # Errors
/// When the disk fails.
pub fn discard(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.look(path)? {
        PathKind::File(_) => disk.remove(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_there_until_it_is_discarded() {
        let disk = dirigo_disk::Simulated::new(1);
        let folder = Path::new("/state/p/sources/s");
        let path = folder.join("note");
        assert_eq!(read::<u64>(&disk, &path).unwrap(), None);
        for note in [41_000_u64, 7] {
            write(&disk, folder, "note", &note).unwrap();
            assert_eq!(read(&disk, &path).unwrap(), Some(note));
        }
        discard(&disk, &path).unwrap();
        assert_eq!(read::<u64>(&disk, &path).unwrap(), None);
    }
}
