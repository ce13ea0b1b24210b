//! A Slurm script: one task of an array for each share of the points.

use crate::Folder;
use std::path::Path;

/// A script that runs the experiment in `tasks` shares, each as one task of an array. Every task goes on where it was stopped,
/// so that the script can be submitted again: two minutes before the time is up the shell of the batch, which is
/// the program by then, is signalled (`B:`; without that only the steps of `srun` are). What data and model they read is in the experiment's folder.
pub fn script(folder: &Folder, program: &Path, experiment: &Path, tasks: usize) -> String {
    let last = tasks.clamp(1, folder.points.len().max(1)) - 1;
    let (program, dir, experiment) = (quoted(program), quoted(folder.dir()), quoted(experiment));
    let quick = if folder.facts.quick { " --quick" } else { "" };
    format!(
        "#!/bin/bash\n\
         # {points} runs in {tasks} tasks; 'sbatch' this file, again after a time limit, then 'trilobit lab show {dir}'.\n\
         #SBATCH --job-name=trilobit-lab\n\
         #SBATCH --array=0-{last}\n\
         #SBATCH --nodes=1\n\
         #SBATCH --cpus-per-task=8\n\
         #SBATCH --time=12:00:00\n\
         #SBATCH --signal=B:USR1@120\n\
         set -euo pipefail\n\
         exec {program} lab run {experiment} --out {dir}{quick} \\\n    --share \"$SLURM_ARRAY_TASK_ID/{tasks}\"\n",
        points = folder.points.len(),
        tasks = last + 1,
    )
}

/// As one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
