//! The second tier: bounded by bytes, files with sums, survives a crash.
//!
//! A file for each value, named by its key, in one of 256 folders. It is written beside and renamed, so that whoever reads it reads all of it or nothing; what
//! a crash leaves beside is removed at the next start. The order of use is kept in memory; at a start it is that of the files' times.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::envelope::{self, Entry, HEADER};
use crate::{CacheError, Causes, Key};

/// The second tier.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// Where; it is made where it is not there. One process may use it at a time: another's files would not be counted.
    pub folder: PathBuf,
    /// Bytes of files.
    pub bytes: u64,
}

/// Files, and which of them was used last.
pub(crate) struct Disk {
    folder: PathBuf,
    most: u64,
    index: Mutex<Index>,
    /// Names of files that are being written.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    entries: HashMap<Key, Place>,
    /// Keys by when they were used.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: u64,
    evicted: Causes,
    failures: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    bytes: u64,
    used: u64,
}

impl Index {
    fn put(&mut self, key: Key, bytes: u64) {
        self.take(&key);
        self.uses += 1;
        let used = self.uses;
        self.entries.insert(key, Place { bytes, used });
        self.order.insert(used, key);
        self.bytes += bytes;
    }

    fn take(&mut self, key: &Key) -> bool {
        let Some(place) = self.entries.remove(key) else {
            return false;
        };
        self.order.remove(&place.used);
        self.bytes -= place.bytes;
        true
    }
}

impl Disk {
    /// Looks through the folder: takes time with the number of files.
    pub fn open(settings: &DiskSettings) -> Result<Self, CacheError> {
        let folder = settings.folder.clone();
        let index = scan(&folder).map_err(|source| CacheError::Folder {
            path: folder.clone(),
            source,
        })?;
        let disk = Self {
            folder,
            most: settings.bytes,
            index: Mutex::new(index),
            written: AtomicU64::new(0),
        };
        disk.shrink();
        Ok(disk)
    }

    /// What is kept for `key` and has not ended. Reads a file.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        let bytes = self.index().entries.get(key)?.bytes;
        let found = fs::read(self.path(key)).ok().map(Bytes::from);
        let entry = found.and_then(|bytes| envelope::open(key, &bytes));
        let Some(entry) = entry else {
            self.index().failures += 1;
            self.remove(key);
            return None;
        };
        if entry.has_ended(envelope::now()) {
            if self.remove(key) {
                self.index().evicted.age += 1;
            }
            return None;
        }
        let mut index = self.index();
        // Somebody may have taken it away meanwhile.
        if index.entries.contains_key(key) {
            index.put(*key, bytes);
        }
        Some(entry)
    }

    /// Keeps a value, and gives up what was used longest ago where there is no room. Writes a file; what cannot be written is not kept.
    pub fn put(&self, key: &Key, entry: &Entry) {
        let bytes = (HEADER + entry.value.len()) as u64;
        if bytes > self.most {
            return;
        }
        if self.write(key, &envelope::seal(key, entry)).is_err() {
            self.index().failures += 1;
            return;
        }
        self.index().put(*key, bytes);
        self.shrink();
    }

    fn write(&self, key: &Key, sealed: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{number}.new"));
        let mut file = File::create(&beside)?;
        // No `fsync`: what the machine forgets in a crash fails its sum, and is a miss.
        let written = file
            .write_all(sealed)
            .and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Gives a value up; returns whether it was there.
    pub fn remove(&self, key: &Key) -> bool {
        let was_there = self.index().take(key);
        let _ = fs::remove_file(self.path(key));
        was_there
    }

    fn shrink(&self) {
        loop {
            let oldest = {
                let mut index = self.index();
                if index.bytes <= self.most {
                    return;
                }
                let Some((_, oldest)) = index.order.first_key_value() else {
                    return;
                };
                let oldest = *oldest;
                index.take(&oldest);
                index.evicted.size += 1;
                oldest
            };
            let _ = fs::remove_file(self.path(&oldest));
        }
    }

    /// Bytes and number of files.
    pub fn size(&self) -> (u64, u64) {
        let index = self.index();
        (index.bytes, index.entries.len() as u64)
    }

    pub fn evictions(&self) -> Causes {
        self.index().evicted
    }

    /// Files that could not be written, or read as they were written.
    pub fn failures(&self) -> u64 {
        self.index().failures
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Each change is a few insertions, which do not panic.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies in the folder, in the order of the files' times; what is beside values is removed.
fn scan(folder: &Path) -> io::Result<Index> {
    fs::create_dir_all(folder)?;
    let mut found = Vec::new();
    for shelf in fs::read_dir(folder)? {
        let shelf = shelf?;
        let name = shelf.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if !is_ours || !shelf.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(shelf.path())? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if let Some(key) = Key::parse(&name) {
                let about = file.metadata()?;
                let time = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((time, key, about.len()));
            } else if name.ends_with(".new") {
                let _ = fs::remove_file(file.path());
            }
        }
    }
    found.sort_unstable();
    let mut index = Index::default();
    for (_, key, bytes) in found {
        index.put(key, bytes);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(number: u32) -> Key {
        Key::of("a", "m").with("n", &number.to_le_bytes()).finish()
    }

    fn entry(bytes: usize) -> Entry {
        Entry {
            value: Bytes::from(vec![7; bytes]),
            ends: None,
        }
    }

    fn open(folder: &Path, bytes: u64) -> Disk {
        let folder = folder.to_owned();
        Disk::open(&DiskSettings { folder, bytes }).unwrap()
    }

    #[test]
    fn it_is_bounded_and_gives_up_what_was_used_longest_ago() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 3 * 148);
        (0..3).for_each(|number| disk.put(&key(number), &entry(100)));
        assert!(disk.get(&key(0)).is_some());
        disk.put(&key(3), &entry(100));
        assert_eq!(disk.size(), (3 * 148, 3));
        let there = |number| disk.get(&key(number)).is_some();
        assert_eq!([0, 1, 2, 3].map(there), [true, false, true, true]);
        assert_eq!(disk.evictions().size, 1);
        disk.put(&key(4), &entry(1000));
        assert!(!there(4), "larger than the whole tier");
    }

    #[test]
    fn what_was_kept_is_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 10_000).put(&key(1), &entry(100));
        let shelf = folder.path().join(&key(2).to_string()[..2]);
        fs::create_dir_all(&shelf).unwrap();
        let cut = shelf.join(format!("{}.3.new", key(2)));
        fs::write(&cut, b"half of a").unwrap();
        fs::write(folder.path().join("notes.txt"), b"somebody else's").unwrap();
        let disk = open(folder.path(), 10_000);
        assert_eq!(disk.get(&key(1)), Some(entry(100)));
        assert!(!cut.exists(), "what a crash left");
        assert!(folder.path().join("notes.txt").exists());
        assert_eq!(open(folder.path(), 10).size(), (0, 0), "a bound that fell");
    }

    #[test]
    fn a_damaged_file_is_a_miss_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 10_000);
        disk.put(&key(1), &entry(100));
        let path = disk.path(&key(1));
        let mut bytes = fs::read(&path).unwrap();
        bytes[60] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(disk.get(&key(1)), None);
        assert!(!path.exists());
        assert_eq!((disk.failures(), disk.size()), (1, (0, 0)));
    }

    #[test]
    fn what_has_ended_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path(), 10_000);
        let ends = Some(Duration::from_secs(1));
        disk.put(&key(1), &Entry { ends, ..entry(1) });
        assert_eq!(disk.get(&key(1)), None);
        assert_eq!(disk.evictions().age, 1);
    }

    #[test]
    fn a_folder_that_cannot_be_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let opened = Disk::open(&DiskSettings {
            folder: file.clone(),
            bytes: 1,
        });
        let error = opened.err().unwrap().to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
