//! Random appends and random crashes: what was acknowledged is there, once and in order.

use std::io::{ErrorKind, Read as _};

use dirigo_disk::{Disk as _, Mode, Simulated};

use super::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FOLDER: &str = "/state/p/sources/s";
const SEGMENT: u64 = 2_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn open(disk: &Simulated, now_ms: i64) -> Result<Journal, Error> {
    Journal::open_with(Arc::new(disk.clone()), Path::new(FOLDER), now_ms, SEGMENT)
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

/// A line that says its number, some long.
fn line(number: u64) -> Vec<u8> {
    format!("{number} {}\n", "x".repeat(usize::try_from(number % 7 * 40).unwrap())).into_bytes()
}

fn read_from(journal: &Arc<Journal>, offset: u64) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new(journal.clone(), offset)?;
    let (mut all, mut buffer) = (Vec::new(), [0; 300]);
    loop {
        match reader.read(&mut buffer) {
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
            Err(error) => panic!("{error}"),
        }
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let number = |line: &[u8]| {
        let line = std::str::from_utf8(line).unwrap();
        let (number, rest) = line.split_once(' ').unwrap();
        let number = number.parse().unwrap();
        assert_eq!(rest.len() as u64, number % 7 * 40);
        number
    };
    lines.map(number).collect()
}

#[test]
fn what_was_acknowledged_is_there_once_and_in_order_after_any_crash() {
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let mut disk = Simulated::new(seed);
        // A client that sends numbers in order, each again until it is acknowledged.
        let (mut next, mut acknowledged) = (0_u64, 0_u64);
        // And a source that has committed so many bytes, of so many lines.
        let (mut committed, mut committed_lines) = (0, 0);
        for life in 0..8 {
            // Some crash as the journal is opened.
            disk.crash_at(disk.operations() + 1 + random.below(30));
            let opened = open(&disk, 0);
            if disk.is_crashed() {
                disk = disk.restart();
                continue;
            }
            let journal = Arc::new(opened.unwrap_or_else(|error| panic!("seed {seed}: {error}")));
            let found = numbers(&read_from(&journal, committed).unwrap());
            let expected: Vec<u64> = (committed_lines..committed_lines + found.len() as u64).collect();
            assert_eq!(found, expected, "seed {seed}, life {life}");
            assert!(
                committed_lines + found.len() as u64 >= acknowledged,
                "seed {seed}: {acknowledged} were acknowledged"
            );
            disk.crash_at(disk.operations() + 1 + random.below(120));
            if random.below(3) == 0 {
                disk.fail_at(disk.operations() + 1 + random.below(60));
            }
            loop {
                if journal.append(&line(next), Some((key(next), 0))).is_err() {
                    break;
                }
                next += 1;
                acknowledged = next;
                if random.below(5) == 0 {
                    let lines: Vec<u64> = (committed_lines..next - random.below(next - committed_lines + 1)).collect();
                    committed += lines.iter().map(|number| line(*number).len() as u64).sum::<u64>();
                    committed_lines += lines.len() as u64;
                    if journal.trim(committed, 0).is_err() {
                        break;
                    }
                }
            }
            disk = disk.restart();
        }
        let journal = Arc::new(open(&disk, 0).unwrap());
        // What is sent once more is known, also where its segment is gone.
        for number in 0..acknowledged {
            let again = journal.append(&line(number), Some((key(number), 0))).unwrap();
            assert!(matches!(again, Appended::Before(_)), "seed {seed}: {number}");
        }
    }
}

#[test]
fn damage_to_what_was_acknowledged_is_refused() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let disk = Simulated::new(seed);
        let journal = open(&disk, 0).unwrap();
        let mut ends = Vec::new();
        for number in 0..60 {
            journal.append(&line(number), None).unwrap();
            ends.push(journal.writer.lock().at);
        }
        let segments: Vec<(u64, PathBuf)> = {
            let writer = journal.writer.lock();
            writer
                .segments
                .iter()
                .map(|segment| (segment.first, segment.path.clone()))
                .collect()
        };
        drop(journal);
        let place = usize::try_from(random.below(segments.len() as u64)).unwrap();
        let file = disk.open(&segments[place].1, Mode::Existing).unwrap();
        let mut bytes = file.len().unwrap();
        if place + 1 == segments.len() {
            // Of the last record nothing says that it was acknowledged.
            bytes = ends[ends.len() - 2];
        }
        let at = random.below(bytes);
        let mut byte = [0];
        file.read_at(at, &mut byte).unwrap();
        file.write_at(at, &[byte[0] ^ (1 << random.below(8))]).unwrap();
        let error = open(&disk, 0).map(|journal| journal.end()).unwrap_err();
        assert!(
            matches!(error, Error::Damaged { .. }),
            "seed {seed}, byte {at}: {error}"
        );
    }
}

#[test]
fn many_at_once_wait_for_the_disk_together() {
    let disk = Simulated::new(1);
    let journal = Arc::new(open(&disk, 0).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..100 {
                    let Appended::Now(range) = journal.append(&line(thread * 100 + number), None).unwrap() else {
                        panic!("it has no key");
                    };
                    assert!(journal.end() >= range.end);
                }
            });
        }
    });
    let mut found = numbers(&read_from(&journal, 0).unwrap());
    for thread in 0..8 {
        let of_thread = found.iter().filter(|number| **number / 100 == thread);
        assert!(of_thread.is_sorted(), "what one sends after the other stays so");
    }
    found.sort_unstable();
    assert_eq!(found, (0..800).collect::<Vec<_>>());
}

#[test]
fn a_reader_goes_on_in_the_middle_of_a_record_and_as_more_comes() {
    let disk = Simulated::new(1);
    let journal = Arc::new(open(&disk, 0).unwrap());
    journal.append(b"0123456789", None).unwrap();
    let mut reader = Reader::new(journal.clone(), 4).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(reader.read(&mut buffer).unwrap(), 6);
    assert_eq!(&buffer[..6], b"456789");
    assert_eq!(reader.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    journal.append(b"ab", None).unwrap();
    assert_eq!(reader.read(&mut buffer).unwrap(), 2);
    let error = Reader::new(journal, 13).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Ended {
                end: 12,
                wanted: 13,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn keys_are_forgotten_after_a_day_and_their_files_go() {
    let disk = Simulated::new(1);
    let journal = open(&disk, 0).unwrap();
    let day = keys::KNOWN_MS;
    for number in 0..100 {
        journal.append(&line(number), Some((key(number), 0))).unwrap();
    }
    journal.trim(journal.end(), 0).unwrap();
    let files = || keys::listed(&disk, Path::new(FOLDER)).unwrap().len();
    assert!(files() > 1);
    let kept = journal.start();
    assert!(matches!(
        journal.append(&line(3), Some((key(3), day))).unwrap(),
        Appended::Before(_)
    ));
    for number in 100..200 {
        journal.append(&line(number), Some((key(number), day + 1))).unwrap();
    }
    let before = files();
    journal.trim(journal.end(), day + 1).unwrap();
    assert!(
        keys::listed(&disk, Path::new(FOLDER))
            .unwrap()
            .iter()
            .all(|(end, _)| *end > kept),
        "{before} were there"
    );
    assert!(matches!(
        journal.append(&line(3), Some((key(3), day + 1))).unwrap(),
        Appended::Now(_)
    ));
    assert!(matches!(
        journal.append(&line(103), Some((key(103), day + 2))).unwrap(),
        Appended::Before(_)
    ));
}

#[test]
fn other_bytes_with_the_same_key_are_told_apart() {
    let disk = Simulated::new(1);
    let journal = open(&disk, 0).unwrap();
    journal.append(b"abc", Some((key(1), 0))).unwrap();
    for bytes in [b"abd".as_slice(), b"ab"] {
        assert_eq!(journal.append(bytes, Some((key(1), 0))).unwrap(), Appended::Differs);
    }
    drop(journal);
    let journal = open(&disk, 0).unwrap();
    assert_eq!(journal.append(b"abd", Some((key(1), 0))).unwrap(), Appended::Differs);
    assert_eq!(
        journal.append(b"abc", Some((key(1), 0))).unwrap(),
        Appended::Before(0..3)
    );
}

#[test]
fn a_segment_that_cannot_be_removed_is_removed_another_time() {
    for failing in 1..6 {
        let disk = Simulated::new(1);
        let journal = open(&disk, 0).unwrap();
        for number in 0..100 {
            journal.append(&line(number), Some((key(number), 0))).unwrap();
        }
        disk.fail_at(disk.operations() + failing);
        let _ = journal.trim(journal.end(), 0);
        journal.trim(journal.end(), 0).unwrap();
        drop(journal);
        let journal = open(&disk, 0).unwrap_or_else(|error| panic!("{failing}: {error}"));
        assert!(matches!(
            journal.append(&line(3), Some((key(3), 0))).unwrap(),
            Appended::Before(_)
        ));
    }
}

#[test]
fn after_a_synchronisation_that_failed_nothing_more_is_acknowledged() {
    let disk = Simulated::new(1);
    let journal = open(&disk, 0).unwrap();
    journal.write(b"first", None).unwrap();
    journal.write(b"second", None).unwrap();
    disk.fail_at(disk.operations() + 1);
    assert!(matches!(journal.sync(5), Err(Error::Io { .. })));
    // The next synchronisation would succeed, and says nothing of what the first one lost.
    assert!(matches!(journal.sync(11), Err(Error::Failed)));
    assert!(matches!(journal.append(b"third", None), Err(Error::Failed)));
    assert_eq!(journal.end(), 0);
}

#[test]
fn a_stream_that_is_truncated_goes_on_where_it_was_cut() {
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let mut disk = Simulated::new(seed);
        // What a user of the journal relies on: so many lines, which take so many bytes.
        let (mut lines, mut committed) = (0, 0);
        for life in 0..8 {
            disk.crash_at(disk.operations() + 1 + random.below(60));
            let cut = open(&disk, 0).and_then(|journal| journal.truncate(committed).map(|()| journal));
            let journal = match cut {
                Ok(journal) => Arc::new(journal),
                Err(_) if disk.is_crashed() => {
                    disk = disk.restart();
                    continue;
                }
                Err(error) => panic!("seed {seed}, life {life}: {error}"),
            };
            assert_eq!((journal.end(), lines), (committed, lines), "seed {seed}, life {life}");
            let expected: Vec<u64> = (0..lines).collect();
            assert_eq!(
                numbers(&read_from(&journal, 0).unwrap()),
                expected,
                "seed {seed}, life {life}"
            );
            disk.crash_at(disk.operations() + 1 + random.below(80));
            let (mut next, mut end) = (lines, committed);
            // What comes after the cut differs from what was there, but for its numbers.
            while journal.write(&line(next), None).is_ok() {
                end += line(next).len() as u64;
                next += 1;
                if random.below(6) == 0 {
                    if journal.sync(end).is_err() {
                        break;
                    }
                    if random.below(2) == 0 {
                        (lines, committed) = (next, end);
                    }
                }
            }
            disk = disk.restart();
        }
    }
}

#[test]
fn a_stream_is_cut_only_where_a_record_begins() {
    let disk = Simulated::new(1);
    let journal = open(&disk, 0).unwrap();
    journal.append(b"0123", Some((key(1), 0))).unwrap();
    journal.append(b"4567", Some((key(2), 0))).unwrap();
    assert!(matches!(
        journal.truncate(9),
        Err(Error::Ended { end: 8, wanted: 9, .. })
    ));
    journal.truncate(4).unwrap();
    assert_eq!(journal.end(), 4);
    // The key of what is gone may come again; that of what stays is known.
    assert_eq!(
        journal.append(b"abcde", Some((key(2), 0))).unwrap(),
        Appended::Now(4..9)
    );
    assert!(matches!(journal.append(b"x", Some((key(1), 0))), Ok(Appended::Differs)));
    assert!(matches!(journal.truncate(5), Err(Error::Damaged { .. })));
    assert!(matches!(journal.append(b"x", None), Err(Error::Failed)));
    drop(journal);
    let journal = open(&disk, 0).unwrap();
    assert_eq!(journal.end(), 9);
}
