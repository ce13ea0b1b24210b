//! Which checkpoints of a run stay.

use formats::{FileError, folder};
use journal::layout;
use std::path::Path;

const DELETE_PREFIX: &str = ".delete-";

/// Removes the checkpoints of `checkpoints_dir` except the `keep_last` newest (at least one) and those named in
/// `keep`; returns the names removed, oldest first.
///
/// A checkpoint loses its name before its first file goes, so that none is ever seen in part; what a kill leaves of
/// that, and of unfinished checkpoints, is removed too.
pub fn prune(
    checkpoints_dir: &Path,
    keep_last: usize,
    keep: &[impl AsRef<str>],
) -> Result<Vec<String>, FileError> {
    let fail = |e: &std::io::Error| FileError::io(checkpoints_dir, "remove old checkpoints", e);
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(checkpoints_dir).map_err(|e| fail(&e))? {
        let name = entry.map_err(|e| fail(&e))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(DELETE_PREFIX) {
            std::fs::remove_dir_all(checkpoints_dir.join(&*name)).map_err(|e| fail(&e))?;
        }
        if let Some(step) = layout::checkpoint_step(&name) {
            steps.push((step, name.into_owned()));
        }
    }
    folder::sweep(checkpoints_dir);
    steps.sort();
    steps.truncate(steps.len().saturating_sub(keep_last.max(1)));
    let mut removed = Vec::new();
    for (_, name) in steps {
        if keep.iter().any(|kept| kept.as_ref() == name) {
            continue;
        }
        let doomed = checkpoints_dir.join(format!("{DELETE_PREFIX}{name}"));
        std::fs::rename(checkpoints_dir.join(&name), &doomed)
            .and_then(|()| std::fs::remove_dir_all(&doomed))
            .map_err(|e| fail(&e))?;
        removed.push(name);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_and_the_named_stay() {
        let dir = testkit::temp_dir();
        let make = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("weights"), "x").unwrap();
        };
        let step = layout::checkpoint_name;
        for number in [0, 100, 200, 300, 100_000_000] {
            make(&step(number));
        }
        make(".delete-step-00000050");
        make(".step-00000250.tmp-1-0");
        make("mine");
        let removed = prune(dir.path(), 2, &[&step(100)]).unwrap();
        assert_eq!(removed, [step(0), step(200)]);
        let left = [step(300).as_str(), "mine", &step(100), &step(100_000_000)].map(str::to_owned);
        assert_eq!(names(dir.path()).len(), left.len());
        assert!(left.iter().all(|name| dir.path().join(name).join("weights").is_file()));
        assert_eq!(prune(dir.path(), 0, &[""]).unwrap().len(), 2);
        assert!(prune(&dir.path().join("none"), 1, &[""]).is_err());
    }
}
