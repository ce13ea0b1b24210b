//! Which checkpoints of a run stay.

use formats::{FileError, folder};
use journal::layout;
use std::path::Path;

const DELETE_PREFIX: &str = ".delete-";
/// Of what a run that went on from an older checkpoint has passed over.
const ASIDE_PREFIX: &str = "damaged-";

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
    let names = names(checkpoints_dir)?;
    for name in names.iter().filter(|name| name.starts_with(DELETE_PREFIX)) {
        std::fs::remove_dir_all(checkpoints_dir.join(name)).map_err(|e| fail(&e))?;
    }
    folder::sweep(checkpoints_dir);
    let mut steps = steps(names);
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

/// Gives each checkpoint of `checkpoints_dir` after step `step` a name under which it counts for none: a run that goes on from
/// `step` passed them over, and will write its own. Returns the old and the new names, oldest first.
pub fn set_aside(checkpoints_dir: &Path, step: u64) -> Result<Vec<(String, String)>, FileError> {
    let later = steps(names(checkpoints_dir)?).into_iter().filter(|(number, _)| *number > step);
    let renamed = later.map(|(_, name)| {
        let aside = |time: u32| match time {
            1 => format!("{ASIDE_PREFIX}{name}"),
            time => format!("{ASIDE_PREFIX}{name}-{time}"),
        };
        let is_free = |name: &String| !checkpoints_dir.join(name).exists();
        let aside = (1..).map(aside).find(is_free).expect("numbers do not end");
        std::fs::rename(checkpoints_dir.join(&name), checkpoints_dir.join(&aside))
            .map_err(|e| FileError::io(&checkpoints_dir.join(&name), "rename", &e))?;
        Ok((name, aside))
    });
    renamed.collect()
}

/// Names of everything in `dir`.
fn names(dir: &Path) -> Result<Vec<String>, FileError> {
    let fail = |e: std::io::Error| FileError::io(dir, "list", &e);
    let entries = std::fs::read_dir(dir).map_err(fail)?;
    entries.map(|entry| Ok(entry.map_err(fail)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Those of checkpoints, with their steps, oldest first.
fn steps(names: Vec<String>) -> Vec<(u64, String)> {
    let step = |name: String| Some((layout::checkpoint_step(&name)?, name));
    let mut steps: Vec<_> = names.into_iter().filter_map(step).collect();
    steps.sort();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names = super::names(dir).unwrap();
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

    #[test]
    fn what_a_run_passed_over_makes_room_for_its_own() {
        let dir = testkit::temp_dir();
        let make = |name: &str| std::fs::create_dir(dir.path().join(name)).unwrap();
        let step = layout::checkpoint_name;
        [10, 20, 30].into_iter().for_each(|number| make(&step(number)));
        make("damaged-step-00000030");
        let aside = |name: &str| format!("damaged-{name}");
        let renamed = [(step(20), aside(&step(20))), (step(30), aside("step-00000030-2"))];
        assert_eq!(set_aside(dir.path(), 10).unwrap(), renamed);
        assert!(set_aside(dir.path(), 10).unwrap().is_empty());
        let left =
            ["damaged-step-00000020", "damaged-step-00000030", "damaged-step-00000030-2", "step-00000010"];
        assert_eq!(names(dir.path()), left);
        assert_eq!(prune(dir.path(), 1, &[""]).unwrap().len(), 0, "they are no checkpoints any more");
        assert_eq!(names(dir.path()), left);
    }
}
