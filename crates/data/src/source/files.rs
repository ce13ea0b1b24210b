//! From the paths a user gives (files, folders, globs) to the files to read, in a fixed order.

use super::compression::Compression;
use super::{InputFile, SOURCES, SourceKind};
use crate::DataError;
use formats::FileError;
use std::path::{Path, PathBuf};

/// Deepest nesting of folders.
const DEPTH_MAX: usize = 64;
/// Most files of one run.
const FILES_MAX: usize = 10_000_000;

/// The files under `paths`. Inside folders, files of other kinds and hidden ones are passed over, and symbolic links
/// to folders are not followed (they may form a circle).
pub(super) fn expand(paths: &[PathBuf]) -> Result<Vec<InputFile>, DataError> {
    let mut files = Vec::new();
    for (source, path) in paths.iter().enumerate() {
        let is_pattern = path.to_string_lossy().contains(['*', '?', '[']) && !path.exists();
        match is_pattern {
            false => add(path, source, &mut files)?,
            true => add_matches(path, source, &mut files)?,
        }
        if files.len() > FILES_MAX {
            let what = format!("more than {FILES_MAX} input files");
            return Err(DataError::unfit(what, "join them into fewer, larger files"));
        }
    }
    if files.is_empty() {
        return Err(DataError::unfit("no input is given", "name files, folders or globs"));
    }
    Ok(files)
}

fn add_matches(pattern: &Path, source: usize, files: &mut Vec<InputFile>) -> Result<(), DataError> {
    let bad =
        |what: String| DataError::content(pattern, what, "check the pattern, and quote it against the shell");
    let no_pattern = |e: glob::PatternError| bad(format!("it is no glob pattern: {e}"));
    let (start, below) = at_recursion(pattern);
    let below =
        below.map(|below| glob::Pattern::new(&below.to_string_lossy())).transpose().map_err(no_pattern)?;
    let matches = glob::glob(&start.to_string_lossy()).map_err(no_pattern)?;
    let before = files.len();
    for found in matches {
        let found = found.map_err(|e| FileError::io(e.path(), "read", e.error()))?;
        let picked = below.as_ref().map(|pattern| Picked { start: &found, pattern });
        // A pattern picks by name as a folder does: other kinds of file that match are passed over.
        match found.is_dir() {
            true => walk(&found, picked, source, 0, files)?,
            false if picked.is_none() => files.extend(classify(&found, source)),
            false => {}
        }
    }
    match files.len() > before {
        true => Ok(()),
        false => Err(bad(format!("no file matches ({})", known_kinds()))),
    }
}

/// A pattern parted before its first `**`. What is below is walked here, for the glob crate follows links in circles.
fn at_recursion(pattern: &Path) -> (PathBuf, Option<PathBuf>) {
    let parts: Vec<_> = pattern.components().collect();
    let Some(at) = parts.iter().position(|part| part.as_os_str() == "**") else {
        return (pattern.to_owned(), None);
    };
    let start = match at {
        0 => PathBuf::from("."),
        _ => parts[..at].iter().collect(),
    };
    (start, Some(parts[at..].iter().collect()))
}

/// What is wanted of a folder.
#[derive(Clone, Copy)]
struct Picked<'a> {
    /// where the pattern begins
    start: &'a Path,
    pattern: &'a glob::Pattern,
}

impl Picked<'_> {
    fn has(self, path: &Path) -> bool {
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        path.strip_prefix(self.start).is_ok_and(|below| self.pattern.matches_path_with(below, options))
    }
}

fn add(path: &Path, source: usize, files: &mut Vec<InputFile>) -> Result<(), DataError> {
    let facts = std::fs::metadata(path).map_err(|e| FileError::io(path, "open", &e))?;
    if facts.is_dir() {
        let before = files.len();
        walk(path, None, source, 0, files)?;
        return match files.len() > before {
            true => Ok(()),
            false => Err(DataError::content(
                path,
                format!("the folder holds no file that can be read ({})", known_kinds()),
                "name another folder",
            )),
        };
    }
    let file = classify(path, source).ok_or_else(|| {
        let what = format!("its kind is not known by its name ({})", known_kinds());
        DataError::content(path, what, "rename it, or convert it to one of these")
    })?;
    files.push(file);
    Ok(())
}

/// The files in a folder: those that are `picked`, or all that are not hidden.
fn walk(
    folder: &Path,
    picked: Option<Picked>,
    source: usize,
    depth: usize,
    files: &mut Vec<InputFile>,
) -> Result<(), DataError> {
    if depth > DEPTH_MAX {
        let what = format!("folders are nested more than {DEPTH_MAX} deep");
        return Err(DataError::content(folder, what, "flatten them"));
    }
    let failed = |e: std::io::Error| FileError::io(folder, "read the folder", &e);
    let mut entries =
        std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_wanted = match picked {
            Some(picked) => picked.has(&path),
            None => !entry.file_name().to_string_lossy().starts_with('.'),
        };
        if entry.file_type().map_err(failed)?.is_dir() {
            // All of a folder that is picked itself; a part of one that is not.
            if picked.is_some() || is_wanted {
                walk(&path, picked.filter(|_| !is_wanted), source, depth + 1, files)?;
            }
        } else if is_wanted && !path.is_dir() {
            files.extend(classify(&path, source));
        }
    }
    Ok(())
}

/// What the extensions say; `None` where they say nothing known.
fn classify(path: &Path, source: usize) -> Option<InputFile> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (stem, extension) = name.rsplit_once('.')?;
    let compression = Compression::of(extension);
    let extension = match compression {
        Compression::None => extension,
        _ => stem.rsplit_once('.')?.1,
    };
    let fits = |kind: &&&dyn SourceKind| {
        kind.extensions().contains(&extension) && (kind.is_stream() || compression == Compression::None)
    };
    let kind = *SOURCES.iter().find(fits)?;
    Some(InputFile { path: path.to_owned(), source, kind, compression })
}

fn known_kinds() -> String {
    let describe = |kind: &&dyn SourceKind| {
        let names = kind.extensions().iter().map(|e| format!(".{e}")).collect::<Vec<_>>().join(" ");
        match kind.is_stream() {
            true => format!("{names}, also with .gz .zst .xz"),
            false => names,
        }
    };
    format!("known: {}", SOURCES.iter().map(describe).collect::<Vec<_>>().join("; "))
}
