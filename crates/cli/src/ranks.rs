//! This process among the ranks that `mpirun` started.

use anyhow::Result;
use cluster::Group;
use std::path::Path;
use std::time::Duration;

/// Joins the other ranks; `None` where this process is alone. A rank that is silent for `limit` ends the job, with a sentence that
/// names it and the newest checkpoint of the run `out`.
///
/// # Errors
/// Several ranks were started of a program that was built without MPI.
#[cfg(not(feature = "mpi"))]
pub fn join(_limit: Duration, _out: &Path) -> Result<Option<Group>> {
    match cluster::launch::ranks() {
        Some(ranks) if ranks > 1 => anyhow::bail!(
            "{ranks} ranks were started of a program that was built without MPI, and each would train the whole model: build it with 'cargo build --release --features mpi' (needs Open MPI and libclang; Debian: libopenmpi-dev, libclang-dev), or start it without mpirun"
        ),
        _ => Ok(None),
    }
}

/// Joins the other ranks; `None` where this process is alone. A rank that is silent for `limit` ends the job, with a sentence that
/// names it and the newest checkpoint of the run `out`.
///
/// # Errors
/// MPI cannot be started.
#[cfg(feature = "mpi")]
pub fn join(limit: Duration, out: &Path) -> Result<Option<Group>> {
    if cluster::launch::ranks().is_none_or(|ranks| ranks == 1) {
        return Ok(None);
    }
    let out = out.to_owned();
    let on_lost = move |lost: &cluster::Lost| {
        if lost.cause != cluster::transport::Cause::Left {
            eprintln!("error: {lost}; {}", remedy(&out));
        }
        std::process::exit(2)
    };
    let connect = move || cluster::mpi::Mpi::connect(limit, Box::new(on_lost));
    Ok(Some(Group::join(connect)?))
}

/// What to do after a rank was lost.
#[cfg(feature = "mpi")]
fn remedy(out: &Path) -> String {
    let folder = out.join("checkpoints");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let steps = entries.filter_map(|entry| journal::layout::checkpoint_step(entry.file_name().to_str()?));
    match steps.max() {
        Some(step) => format!(
            "the newest checkpoint is {}; start the job again with --resume, on any number of ranks",
            folder.join(journal::layout::checkpoint_name(step)).display()
        ),
        None => format!("no checkpoint is in {} yet; start the job again", folder.display()),
    }
}
