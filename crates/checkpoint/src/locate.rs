//! From what the user calls MODEL to a checkpoint that verifies.

use crate::native::{self, Opened};
use formats::{FileError, Kind, manifest, nearest};
use journal::{Run, layout};
use std::path::{Path, PathBuf};

const EXPECTED: &str = "a run folder, a checkpoint folder, a Hugging Face folder, a GGUF file or a llama2.c .bin file was expected";

/// A checkpoint that verifies, and what had to be passed over to find it.
#[derive(Debug)]
pub struct Located {
    /// The checkpoint.
    pub checkpoint: Opened,
    /// One sentence for each newer checkpoint that is damaged.
    pub warnings: Vec<String>,
}

/// Opens the checkpoint `path` means: itself, or the newest of a run folder that verifies.
///
/// For anything else the error names what was expected and the nearest thing found.
pub fn locate(path: &Path) -> Result<Located, FileError> {
    let candidates = candidates(path)?;
    let (mut warnings, mut damages) = (Vec::new(), Vec::new());
    for candidate in &candidates {
        match Opened::open(candidate) {
            Ok(checkpoint) => return Ok(Located { checkpoint, warnings }),
            Err(error) if candidate == path => return Err(error),
            Err(error) => {
                warnings.push(error.to_string());
                damages.push(format!("{}: {}", error.path.display(), error.what));
            }
        }
    }
    let what = format!("none of its {} checkpoints is sound: {}", candidates.len(), damages.join(", "));
    Err(FileError::damaged(path, what, "train it again, or take a checkpoint from a backup"))
}

/// The checkpoints that `path` means, newest first and not verified: itself, or those of a run folder (or of its
/// folder of checkpoints). At least one; for anything else the error is that of [`locate`].
pub fn candidates(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    if is_checkpoint(path) {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.join(layout::CHECKPOINTS);
    let is_run = folder.is_dir();
    let found = steps(if is_run { &folder } else { path });
    if is_run && found.is_empty() {
        let what = "the run has no finished checkpoint";
        return Err(FileError::new(path, Kind::Missing, what, "train it until its first checkpoint"));
    }
    if found.is_empty() {
        return Err(stranger(path));
    }
    Ok(found)
}

/// The checkpoints in `folder` by their names, newest first; none when it cannot be read.
fn steps(folder: &Path) -> Vec<PathBuf> {
    let step = |name: String| layout::checkpoint_step(&name).map(|step| (step, folder.join(name)));
    let mut found: Vec<(u64, PathBuf)> = names(folder).into_iter().filter_map(step).collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn is_checkpoint(path: &Path) -> bool {
    let has = |name: &str| path.join(name).is_file();
    has(native::WEIGHTS) || has(manifest::NAME) && has(native::CONFIG)
}

/// The checkpoint before `dir` in its run, if there is one.
pub(crate) fn previous(dir: &Path) -> Option<PathBuf> {
    let step = layout::checkpoint_step(dir.file_name()?.to_str()?)?;
    let parent = dir.parent()?;
    steps(parent).into_iter().find(|sibling| {
        let name = sibling.file_name().and_then(|name| name.to_str());
        name.and_then(layout::checkpoint_step).is_some_and(|other| other < step)
    })
}

/// What `path` is instead of a model.
fn stranger(path: &Path) -> FileError {
    let unfit =
        |what: &str, remedy: String| FileError::new(path, Kind::Unfit, format!("{EXPECTED}, {what}"), remedy);
    let parent = path.parent().unwrap_or(Path::new(""));
    if path.is_file() {
        if is_checkpoint(parent) {
            return unfit("and this is a file of one", format!("name the folder {}", parent.display()));
        }
        return unfit("and this is a file", "name the folder that 'train --out' wrote".into());
    }
    if !path.exists() {
        return absent(path);
    }
    let entries = names(path);
    let is_weights = |name: &&String| name.ends_with(".safetensors") || name.ends_with(".bin");
    if let (Some(weights), false) = (entries.iter().find(is_weights), path.join("config.json").exists()) {
        let what = format!("it holds {weights} and no config.json");
        return FileError::new(path, Kind::Unfit, what, "put the config.json of the same model beside it");
    }
    let inside = entries.into_iter().map(|name| path.join(name));
    let nearest = inside.into_iter().find(|entry| Run::is_run(entry) || is_checkpoint(entry));
    match nearest {
        Some(nearest) => {
            unfit("and this is neither", format!("did you mean {} inside it?", nearest.display()))
        }
        None => unfit("and this is neither", "name the folder that 'train --out' wrote".into()),
    }
}

/// That `path` does not exist, and which of its neighbours may have been meant.
fn absent(path: &Path) -> FileError {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let neighbours = names(parent);
    let remedy = match nearest::nearest(&name, neighbours.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {}?", parent.join(near).display()),
        None if !parent.is_dir() => format!("check the path: {} is no folder either", parent.display()),
        None => "check the spelling of the path".to_owned(),
    };
    FileError::new(path, Kind::Missing, format!("it does not exist; {EXPECTED}"), remedy)
}

/// Names of the visible entries of `dir`, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}
