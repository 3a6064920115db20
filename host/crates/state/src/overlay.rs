//! A file whose changes stay in memory.
//!
//! A database that a crash left behind is repaired when it is opened; so that looking at it changes nothing, the repair happens
//! here.

use std::collections::BTreeMap;
use std::io;

use dirigo_disk::File;
use dirigo_ground::sync::Mutex;

/// What is kept of a change at least: the page of the database.
const PAGE_BYTES: usize = 4096;

/// A file of the disk, with changes before it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Box<dyn File>,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    /// By number.
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    bytes: u64,
    /// As much of the file is still there.
    file_bytes: u64,
}

impl Overlay {
    pub(super) fn new(file: Box<dyn File>) -> io::Result<Self> {
        let bytes = file.len()?;
        Ok(Self {
            file,
            changes: Mutex::new(Changes {
                pages: BTreeMap::new(),
                bytes,
                file_bytes: bytes,
            }),
        })
    }

    /// Gives each page that lies in so many bytes from `offset`, what is in it, and which part of it lies there.
    fn each_page(
        &self,
        changes: &Changes,
        offset: u64,
        length: usize,
        mut take: impl FnMut(u64, Box<[u8; PAGE_BYTES]>, std::ops::Range<usize>),
    ) -> io::Result<()> {
        let page_bytes = PAGE_BYTES as u64;
        let end = offset + length as u64;
        for number in offset / page_bytes..end.div_ceil(page_bytes) {
            let start = number * page_bytes;
            let page = if let Some(page) = changes.pages.get(&number) {
                page.clone()
            } else {
                let mut page = Box::new([0; PAGE_BYTES]);
                let there = changes.file_bytes.saturating_sub(start).min(page_bytes);
                self.file.read_at(start, &mut page[..within(there)])?;
                page
            };
            take(
                number,
                page,
                within(offset.saturating_sub(start))..within((end - start).min(page_bytes)),
            );
        }
        Ok(())
    }
}

/// A place within a page.
fn within(place: u64) -> usize {
    usize::try_from(place).expect("a page is small")
}

impl File for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().bytes)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes.lock();
        if offset + out.len() as u64 > changes.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        self.each_page(&changes, offset, out.len(), |_, page, part| {
            let length = part.len();
            out[done..done + length].copy_from_slice(&page[part]);
            done += length;
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes.lock();
        changes.file_bytes = changes.file_bytes.min(len);
        let kept = len / PAGE_BYTES as u64;
        // A page that is cut keeps what it has before the cut; what comes after it is zeros from now on.
        let mut cut = changes.pages.split_off(&kept);
        if let Some(mut page) = cut.remove(&kept) {
            page[within(len % PAGE_BYTES as u64)..].fill(0);
            changes.pages.insert(kept, page);
        }
        changes.bytes = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(self.len()?, bytes)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes.lock();
        let mut pages = Vec::new();
        let mut rest = data;
        self.each_page(&changes, offset, data.len(), |number, mut page, part| {
            let (now, later) = rest.split_at(part.len());
            page[part].copy_from_slice(now);
            rest = later;
            pages.push((number, page));
        })?;
        changes.pages.extend(pages);
        changes.bytes = changes.bytes.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use dirigo_disk::{Disk, Mode, Simulated};

    #[test]
    fn what_is_written_is_read_and_the_file_stays_as_it_was() {
        let disk = Simulated::new(0);
        let open = || disk.open(Path::new("/file"), Mode::Make).unwrap();
        let before: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        open().write_at(0, &before).unwrap();
        let overlay = Overlay::new(open()).unwrap();
        overlay.write_at(4_000, &[7; 200]).unwrap();
        overlay.set_len(9_000).unwrap();
        overlay.set_len(12_000).unwrap();
        let mut expected = before.clone();
        expected[4_000..4_200].fill(7);
        expected.truncate(9_000);
        expected.resize(12_000, 0);
        let mut found = vec![0; 12_000];
        overlay.read_at(0, &mut found).unwrap();
        assert!(found == expected);
        assert!(overlay.read_at(11_999, &mut [0; 2]).is_err());
        let mut after = vec![0; before.len()];
        open().read_at(0, &mut after).unwrap();
        assert!(after == before && open().len().unwrap() == 10_000);
    }
}
