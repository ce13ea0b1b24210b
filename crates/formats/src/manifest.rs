//! `manifest.json`: name, bytes and SHA-256 of every other file of a folder, written last.
//!
//! ```json
//! {"version": 1, "about": {…}, "files": [{"name": "state.json", "bytes": 12, "sha256": "…"}]}
//! ```
//! A folder without it is unfinished; a file that disagrees with it is damaged. The file ends with a newline, so
//! that a cut at any byte shows.

use crate::error::{FileError, Kind};
use crate::mapped::Mapped;
use crate::{atomic, bounded, limits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::path::{Component, Path};

/// The name of the file itself.
pub const NAME: &str = "manifest.json";
const VERSION: u32 = 1;

/// What a folder contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// What the writer says about the folder.
    pub about: Map<String, Value>,
    /// The other files, sorted by name.
    pub files: Vec<Entry>,
}

/// One file of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// File name without folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// Hashes every file in `dir` and writes the manifest, `about` included. Subfolders are an error; the manifest
/// itself and hidden files are left out.
pub fn write(dir: &Path, about: &Map<String, Value>) -> Result<Manifest, FileError> {
    let mut files = Vec::new();
    for name in names(dir)? {
        let path = dir.join(&name);
        let content = Mapped::open(&path)?;
        files.push(Entry { name, bytes: content.len() as u64, sha256: sha256(&content) });
    }
    let manifest = Manifest { version: VERSION, about: about.clone(), files };
    let mut text = serde_json::to_vec_pretty(&manifest).expect("plain data becomes JSON");
    text.push(b'\n');
    atomic::write_bytes(&dir.join(NAME), &text)?;
    Ok(manifest)
}

/// The manifest of `dir` as written, without looking at the files it lists.
pub fn read(dir: &Path) -> Result<Manifest, FileError> {
    let path = dir.join(NAME);
    let text = bounded::read(&path, limits::MANIFEST_BYTES_MAX).map_err(|e| match e.kind {
        Kind::Missing => FileError::new(
            dir,
            Kind::Missing,
            format!("it holds no {NAME}, so it was never finished"),
            "use another folder, or write this one again",
        ),
        _ => e,
    })?;
    let damaged =
        |what: String| FileError::damaged(&path, what, "take the folder from a backup, or write it again");
    if text.last() != Some(&b'\n') {
        return Err(damaged("it is cut short".into()));
    }
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| damaged(format!("it is not a manifest: {e}")))?;
    if manifest.version != VERSION {
        let what = format!("it has version {}, and this program reads {VERSION}", manifest.version);
        return Err(FileError::new(&path, Kind::Unfit, what, "use the program that wrote it"));
    }
    if manifest.files.len() > limits::MANIFEST_FILES_MAX {
        return Err(damaged(format!("it lists {} files", manifest.files.len())));
    }
    if let Some(entry) = manifest.files.iter().find(|entry| !is_plain(&entry.name)) {
        return Err(damaged(format!("'{}' in it is no plain file name", entry.name)));
    }
    Ok(manifest)
}

/// Reads the manifest of `dir` and compares every file it lists: present, of the same length, of the same content.
pub fn verify(dir: &Path) -> Result<Manifest, FileError> {
    let manifest = read(dir)?;
    for entry in &manifest.files {
        let path = dir.join(&entry.name);
        let damaged = |what: String| {
            FileError::damaged(&path, what, "take the folder from a backup, or write it again")
        };
        let content = Mapped::open(&path).map_err(|e| match e.kind {
            Kind::Missing => damaged("it is missing".into()),
            _ => e,
        })?;
        let (bytes, expected) = (content.len() as u64, entry.bytes);
        if bytes != expected {
            let how = if bytes < expected { "cut" } else { "too long" };
            return Err(damaged(format!("it is {how}: {bytes} bytes, {expected} were written")));
        }
        if sha256(&content) != entry.sha256 {
            return Err(damaged("its content has changed since it was written (SHA-256 differs)".into()));
        }
    }
    Ok(manifest)
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `name` is one ordinary path component, so that joining it stays in the folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// Names of the files of `dir` that a manifest lists, sorted.
fn names(dir: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    let fail = |e: &std::io::Error| FileError::io(dir, "list", e);
    for entry in std::fs::read_dir(dir).map_err(|e| fail(&e))? {
        let entry = entry.map_err(|e| fail(&e))?;
        let unfit =
            |what: &str| FileError::new(&entry.path(), Kind::Unfit, what, "move it out of the folder");
        let Ok(name) = entry.file_name().into_string() else {
            return Err(unfit("its name is not UTF-8"));
        };
        if name == NAME || name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            return Err(unfit("a folder with a manifest has no subfolders"));
        }
        names.push(name);
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.txt"), b"abc").unwrap();
        std::fs::write(folder.path().join("a.bin"), b"").unwrap();
        write(folder.path(), &Map::from_iter([("step".into(), 7.into())])).unwrap();
        folder
    }

    #[test]
    fn what_is_written_verifies() {
        let folder = folder();
        let manifest = verify(folder.path()).unwrap();
        assert_eq!(manifest.about["step"], 7);
        let names: Vec<_> = manifest.files.iter().map(|f| (f.name.as_str(), f.bytes)).collect();
        assert_eq!(names, [("a.bin", 0), ("b.txt", 3)]);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(manifest.files[1].sha256, abc);
    }

    #[test]
    fn every_kind_of_damage_names_the_file() {
        type Damage = fn(&Path);
        let cases: [(&str, &str, Damage); 5] = [
            ("b.txt", "is cut", |p| std::fs::write(p, b"ab").unwrap()),
            ("b.txt", "too long", |p| std::fs::write(p, b"abcd").unwrap()),
            ("b.txt", "has changed", |p| std::fs::write(p, b"abd").unwrap()),
            ("b.txt", "missing", |p| std::fs::remove_file(p).unwrap()),
            ("manifest.json", "never finished", |p| std::fs::remove_file(p).unwrap()),
        ];
        for (name, expected, damage) in cases {
            let folder = folder();
            damage(&folder.path().join(name));
            let sentence = verify(folder.path()).unwrap_err().to_string();
            assert!(sentence.contains(name) && sentence.contains(expected), "{sentence}");
        }
    }

    #[test]
    fn a_manifest_cut_at_any_byte_is_an_error() {
        let folder = folder();
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(verify(folder.path()).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../b.txt", "/etc/passwd", "a/b", "", ".", "..", "b.txt/"] {
            assert!(!is_plain(name), "{name:?}");
            let folder = folder();
            let path = folder.path().join(NAME);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("b.txt", name)).unwrap();
            let sentence = verify(folder.path()).unwrap_err().to_string();
            assert!(sentence.contains("no plain file name"), "{sentence}");
        }
    }
}
