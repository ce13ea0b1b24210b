//! Files that are replaced whole: temporary in the same folder, flush, fsync, rename, fsync of the folder.

use crate::error::{FileError, Kind};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER_BYTES: usize = 1 << 20;

/// A file being written under a temporary name beside its place, which it takes at [`Pending::commit`].
///
/// A reader of the place sees the old content or the new one, never a part. When the value is dropped before, the
/// temporary is removed and the old content stays. A temporary left by a killed writer of the same file is removed
/// first. A symbolic link is followed; a folder or a device in the place is an error.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    temporary: PathBuf,
    /// Holds the lock that marks the temporary as alive; `None` when nothing is to be removed any more.
    out: Option<BufWriter<File>>,
}

impl Pending {
    /// Begins to write what will be `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let path = target(path)?;
        let stem = temporary_prefix(&path)?;
        let parent = parent(&path);
        remove_dead(parent, &stem);
        let temporary = parent.join(unique(&stem));
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
            mark_alive(&file)?;
            Ok(file)
        };
        match open() {
            Ok(file) => {
                let out = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
                Ok(Self { path, temporary, out })
            }
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.out().write_all(bytes).map_err(|error| failed(&self.path, &error))
    }

    /// Brings the content to disk and puts it in its place.
    pub fn commit(self) -> Result<(), FileError> {
        self.commit_if(|_| Ok(()))
    }

    /// Brings the content to disk and puts it in its place once `verify`, which is given the temporary's name, agrees; its
    /// error leaves what was there.
    pub fn commit_if<T>(
        mut self,
        verify: impl FnOnce(&Path) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let written = self.out().flush().and_then(|()| self.out().get_ref().sync_all());
        written.map_err(|error| failed(&self.path, &error))?;
        let verified = verify(&self.temporary)?;
        let placed =
            std::fs::rename(&self.temporary, &self.path).and_then(|()| sync_folder(parent(&self.path)));
        placed.map_err(|error| failed(&self.path, &error))?;
        self.out = None;
        Ok(verified)
    }

    fn out(&mut self) -> &mut BufWriter<File> {
        self.out.as_mut().expect("only commit takes it, and commit consumes the value")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // What is still in the buffer need not reach a file that goes.
            let (_file, _buffer) = out.into_parts();
            // Best effort: a dead temporary goes at the next write.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `path` from `fill`, as a [`Pending`] file that is committed when `fill` succeeds.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let mut pending = Pending::create(path)?;
    fill(pending.out()).map_err(|error| failed(&pending.path, &error))?;
    pending.commit()
}

/// The failure to write `path`, which may be that its folder is not there.
fn failed(path: &Path, error: &io::Error) -> FileError {
    let parent = parent(path);
    if error.kind() == io::ErrorKind::NotFound && !parent.is_dir() {
        return FileError::new(
            path,
            Kind::Missing,
            format!("cannot write: the folder {} does not exist", parent.display()),
            "create it first",
        );
    }
    FileError::io(path, "write", error)
}

/// Writes `bytes` as the whole content of `path`; see [`write`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, |out| out.write_all(bytes))
}

/// The file a rename to `path` has to replace: the end of a symbolic link, and a regular file or nothing.
fn target(path: &Path) -> Result<PathBuf, FileError> {
    let Ok(facts) = std::fs::metadata(path) else {
        return Ok(path.to_owned());
    };
    if !facts.is_file() {
        let kind = if facts.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(FileError::new(
            path,
            Kind::Exists,
            format!("cannot write: {kind} is in its place"),
            "choose the name of a file",
        ));
    }
    if path.is_symlink() {
        return std::fs::canonicalize(path).map_err(|e| FileError::io(path, "follow", &e));
    }
    Ok(path.to_owned())
}

/// The folder that holds `path` (`.` for a bare name).
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `.NAME.tmp-`: what the temporaries of `path` begin with.
pub(crate) fn temporary_prefix(path: &Path) -> Result<String, FileError> {
    let name = path.file_name().ok_or_else(|| {
        FileError::new(path, Kind::Unfit, "it names no file or folder", "give the path of what to write")
    })?;
    Ok(format!(".{}.tmp-", name.to_string_lossy()))
}

/// Whether a file or folder has the name of a temporary, whatever it was to become.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(".tmp-")
}

/// `prefix` made unique among the processes of this machine and the writes of this one.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{}-{count}", std::process::id())
}

/// Brings the names in `folder` to disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Holds the lock that says that a temporary's writer lives, where the file system has locks.
///
/// Without them the temporary is safe as well: its name is unique, and nobody removes what cannot be locked.
pub(crate) fn mark_alive(temporary: &File) -> io::Result<()> {
    without_locks(temporary.lock())
}

/// A file system without locks is no failure.
fn without_locks(locked: io::Result<()>) -> io::Result<()> {
    locked.or_else(|error| match error.kind() {
        io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

/// Removes what killed writers left in `parent` under names beginning with `prefix`.
///
/// A living writer holds a lock on its temporary, and the kernel releases it when the process ends. Failures are
/// ignored: what stays behind is found again by the next write.
pub(crate) fn remove_dead(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove_if_dead(&entry.path());
        }
    }
}

/// Removes one temporary (file or folder) unless its writer lives.
pub(crate) fn remove_if_dead(temporary: &Path) {
    let Ok(facts) = std::fs::symlink_metadata(temporary) else {
        return;
    };
    if !(facts.is_file() || facts.is_dir()) {
        return;
    }
    let Ok(held) = File::open(temporary) else {
        return;
    };
    if held.try_lock().is_err() {
        return;
    }
    let _ = match facts.is_dir() {
        true => std::fs::remove_dir_all(temporary),
        false => std::fs::remove_file(temporary),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_whole_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"one").unwrap();
        write_bytes(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failure_keeps_the_old_content_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"good").unwrap();
        let error = write(&path, |out| {
            out.write_all(&[0; 3 << 20])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(error.kind, Kind::DiskFull);
        let sentence = error.to_string();
        assert!(
            sentence.contains("a.txt") && sentence.contains("disk is full") && sentence.contains("free"),
            "{sentence}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"good");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"good").unwrap();
        let mut pending = Pending::create(&path).unwrap();
        pending.write(b"half").unwrap();
        drop(pending);
        assert_eq!((std::fs::read(&path).unwrap(), names(folder.path()).len()), (b"good".to_vec(), 1));
        let mut pending = Pending::create(&path).unwrap();
        pending.write(b"new ").unwrap();
        pending.write(b"content").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        pending.commit().unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names(folder.path()).len()), (b"new content".to_vec(), 1));
    }

    #[test]
    fn what_is_not_agreed_to_does_not_take_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_bytes(&path, b"good").unwrap();
        let written = |bytes: &[u8]| {
            let mut pending = Pending::create(&path).unwrap();
            pending.write(bytes).unwrap();
            pending.commit_if(|temporary| match &*std::fs::read(temporary).unwrap() {
                b"better" => Ok(6),
                _ => Err(FileError::damaged(temporary, "worse", "write it again")),
            })
        };
        assert_eq!(written(b"bad").unwrap_err().what, "worse");
        assert_eq!((std::fs::read(&path).unwrap(), names(folder.path()).len()), (b"good".to_vec(), 1));
        assert_eq!(written(b"better").unwrap(), 6);
        assert_eq!((std::fs::read(&path).unwrap(), names(folder.path()).len()), (b"better".to_vec(), 1));
    }

    #[test]
    fn leftovers_of_the_dead_go_and_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at(".a.txt.tmp-1-0"), b"dead").unwrap();
        std::fs::write(at(".other.tmp-1-0"), b"not ours").unwrap();
        let living = File::create(at(".a.txt.tmp-2-0")).unwrap();
        living.lock().unwrap();
        write_bytes(&at("a.txt"), b"x").unwrap();
        assert_eq!(names(folder.path()), [".a.txt.tmp-2-0", ".other.tmp-1-0", "a.txt"]);
    }

    #[test]
    fn a_file_system_without_locks_is_written_to() {
        const ENOSYS: i32 = 38;
        const EIO: i32 = 5;
        const EOPNOTSUPP: i32 = 95;
        for (code, is_fine) in [(ENOSYS, true), (EOPNOTSUPP, true), (EIO, false)] {
            let locked = without_locks(Err(io::Error::from_raw_os_error(code)));
            assert_eq!(locked.is_ok(), is_fine, "{code}: {locked:?}");
        }
    }

    #[test]
    fn devices_folders_and_absent_folders_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let sentence = |path: &Path| write_bytes(path, b"x").unwrap_err().to_string();
        assert!(sentence(Path::new("/dev/null")).contains("device"));
        assert!(sentence(folder.path()).contains("a folder is in its place"));
        assert!(sentence(&folder.path().join("no/a.txt")).contains("does not exist"));
        assert!(sentence(Path::new("/")).contains("folder"));
        assert!(sentence(Path::new("")).contains("names no file"));
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_bytes(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }
}
