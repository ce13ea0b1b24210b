//! A folder written as a unit: complete under its name, or not there at all.

use crate::error::{FileError, Kind};
use crate::{atomic, manifest};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// Creates the folder `path`: `fill` writes its files into a temporary sibling, then the manifest (with `about`) is
/// written, everything is brought to disk, and the sibling is renamed into place.
///
/// An existing `path` is an error and stays untouched. A kill at any moment leaves the complete folder or none;
/// what a killed writer of the same folder left beside it is removed first.
pub fn commit<E: From<FileError>>(
    path: &Path,
    about: &Map<String, Value>,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    refuse_existing(path)?;
    let parent = atomic::parent(path);
    let prefix = atomic::temporary_prefix(path)?;
    atomic::remove_dead(parent, &prefix);
    let temporary = parent.join(atomic::unique(&prefix));
    let done = create(&temporary, path).map_err(E::from).and_then(|_held| {
        fill(&temporary)?;
        manifest::write(&temporary, about)?;
        refuse_existing(path)?;
        publish(&temporary, path)?;
        Ok(())
    });
    if done.is_err() {
        // Best effort: the first error is the one to report, and a dead folder goes at the next commit.
        let _ = std::fs::remove_dir_all(&temporary);
    }
    done
}

/// Removes what killed writers of any folder left in `parent`, a folder that holds nothing but committed folders.
pub fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if atomic::is_temporary(&entry.file_name().to_string_lossy()) {
            atomic::remove_if_dead(&entry.path());
        }
    }
}

/// Creates the temporary folder. The returned handle holds the lock that marks its writer as alive.
fn create(temporary: &Path, path: &Path) -> Result<File, FileError> {
    let created = std::fs::create_dir(temporary).and_then(|()| {
        let held = File::open(temporary)?;
        atomic::mark_alive(&held)?;
        Ok(held)
    });
    created.map_err(|e| FileError::io(path, "create the folder", &e))
}

fn refuse_existing(path: &Path) -> Result<(), FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(FileError::new(
            path,
            Kind::Exists,
            "it exists already and is not replaced",
            "choose another name or remove it first",
        )),
        Err(_) => Ok(()),
    }
}

/// Brings the files and names of `temporary` to disk and gives it its name.
fn publish(temporary: &Path, path: &Path) -> Result<(), FileError> {
    let sync = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(temporary)? {
            File::open(entry?.path())?.sync_all()?;
        }
        atomic::sync_folder(temporary)?;
        std::fs::rename(temporary, path)?;
        atomic::sync_folder(atomic::parent(path))
    };
    sync().map_err(|e| FileError::io(path, "write", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path) -> Result<(), FileError> {
        atomic::write_bytes(&dir.join("a"), b"content")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_folder_verifies_and_is_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("step-1");
        commit(&path, &Map::new(), put).unwrap();
        manifest::verify(&path).unwrap();
        assert_eq!(names(&path), ["a", "manifest.json"]);
        let again =
            commit(&path, &Map::new(), |_| -> Result<(), FileError> { panic!("not reached") }).unwrap_err();
        assert_eq!(again.kind, Kind::Exists);
        assert_eq!(names(parent.path()), ["step-1"]);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("step-1");
        let error = commit(&path, &Map::new(), |dir| {
            put(dir)?;
            Err(FileError::new(dir, Kind::DiskFull, "full", "free"))
        })
        .unwrap_err();
        assert_eq!(error.kind, Kind::DiskFull);
        assert!(names(parent.path()).is_empty());
        assert!(commit(&parent.path().join("no/step-1"), &Map::new(), put).is_err());
    }

    #[test]
    fn a_target_that_appears_meanwhile_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("step-1");
        let error = commit(&path, &Map::new(), |dir| {
            std::fs::create_dir(&path).unwrap();
            put(dir)
        })
        .unwrap_err();
        assert_eq!(error.kind, Kind::Exists);
        assert!(names(&path).is_empty());
    }

    #[test]
    fn leftovers_of_the_dead_go_and_the_living_stay() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("part"), b"x").unwrap();
            File::open(&path).unwrap()
        };
        drop(make(".step-1.tmp-1-0"));
        drop(make(".step-2.tmp-1-0"));
        let living = make(".step-1.tmp-2-0");
        living.lock().unwrap();
        commit(&parent.path().join("step-1"), &Map::new(), put).unwrap();
        assert_eq!(names(parent.path()), [".step-1.tmp-2-0", ".step-2.tmp-1-0", "step-1"]);
        sweep(parent.path());
        assert_eq!(names(parent.path()), [".step-1.tmp-2-0", "step-1"]);
    }
}
