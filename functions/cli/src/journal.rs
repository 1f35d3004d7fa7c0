//! What was sent, so that it is not sent again.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oplake_core::error::BoxError;

/// A file that notes what was sent: what it is about in the first line, then a
/// key a line. A line without an end was being written when a crash came.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal about `about` at `path`, or begins it, and keeps others
    /// from it; gives the keys that it has, too. A file that is about anything else
    /// stays as it is.
    pub(crate) fn open(path: &Path, about: &str) -> Result<(Self, HashSet<String>), BoxError> {
        let failed = |error: io::Error| named(path, &error);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = file.map_err(failed)?;
        // A file system without locks has none to give.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(format!("the journal {} is used by another replay", path.display()).into());
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let (sent, whole) = parse(path, &text, about)?;
        file.set_len(whole as u64).map_err(failed)?;
        if whole == 0 {
            writeln!(file, "{about}").map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        Ok((Self { file, path: path.to_owned() }, sent))
    }

    /// The keys that the journal about `about` at `path` has, if it is there.
    /// Writes nothing.
    pub(crate) fn peek(path: &Path, about: &str) -> Result<HashSet<String>, BoxError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(parse(path, &text, about)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
            Err(error) => Err(named(path, &error)),
        }
    }

    /// Notes durably that `keys` were sent.
    pub(crate) fn note<'a>(&mut self, keys: impl Iterator<Item = &'a str>) -> Result<(), BoxError> {
        let mut lines = String::new();
        for key in keys {
            lines.push_str(key);
            lines.push('\n');
        }
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| named(&self.path, &error))
    }
}

fn named(path: &Path, error: &io::Error) -> BoxError {
    format!("the journal {}: {error}", path.display()).into()
}

/// The keys of a journal, and its length up to the last whole line.
fn parse(path: &Path, text: &str, about: &str) -> Result<(HashSet<String>, usize), BoxError> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = text[..whole].lines();
    match lines.next() {
        Some(first) if first == about => {}
        // Not one line was written whole.
        None if about.starts_with(text) => {}
        other => {
            let other = other.map_or("something else", |first| first);
            let path = path.display();
            return Err(
                format!("the file {path} is about {other}, not {about}: give another one").into()
            );
        }
    }
    Ok((lines.map(str::to_owned).collect(), whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = "s3://lake to queue";

    #[test]
    fn a_line_that_a_crash_has_cut_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for (text, keys) in [
            ("", &[][..]),
            ("s3://la", &[]),
            ("s3://lake to queue\n", &[]),
            ("s3://lake to queue\na\nb", &["a"]),
            ("s3://lake to queue\na\nb\n", &["a", "b"]),
        ] {
            fs::write(&path, text).unwrap();
            let expected: HashSet<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(Journal::peek(&path, ABOUT).unwrap(), expected, "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "a look changes nothing");
            let (mut journal, sent) = Journal::open(&path, ABOUT).unwrap();
            assert_eq!(sent, expected, "{text}");
            journal.note(["c", "d"].into_iter()).unwrap();
            let lines = [&[ABOUT], keys, &["c", "d", ""]].concat().join("\n");
            assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["{\"token\":1}", "s3://lake to another queue\na\n", "one\ntwo", "\n"] {
            fs::write(&path, text).unwrap();
            for refused in [Journal::peek(&path, ABOUT).err(), Journal::open(&path, ABOUT).err()] {
                let refused = refused.unwrap().to_string();
                assert!(refused.contains("give another one"), "{refused}");
                assert_eq!(fs::read_to_string(&path).unwrap(), text);
            }
        }
    }

    #[test]
    fn two_do_not_write_one_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let first = Journal::open(&path, ABOUT).unwrap();
        let second = Journal::open(&path, ABOUT).err().unwrap().to_string();
        assert!(second.ends_with("is used by another replay"), "{second}");
        drop(first);
        Journal::open(&path, ABOUT).unwrap();
    }
}
