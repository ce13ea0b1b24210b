//! What the launcher says in the environment.

use std::ffi::OsString;

/// Ranks that `mpirun`, `mpiexec` or `srun` started this process among; `None` where none of them did.
pub fn ranks() -> Option<usize> {
    ranks_of(&|key| std::env::var_os(key))
}

/// Cores for this rank: those that the launcher bound it to, or its even part of the machine's where it did not.
pub fn cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let own = cores_of("self");
    let is_bound = own.is_none() || own != cores_of(&std::os::unix::process::parent_id().to_string());
    match number(&|key| std::env::var_os(key), "OMPI_COMM_WORLD_LOCAL_SIZE") {
        Some(ranks) if !is_bound => (allowed / ranks.max(1)).max(1),
        _ => allowed,
    }
}

/// The list of cores that a process may use, as the system writes it.
fn cores_of(process: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

fn ranks_of(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<usize> {
    // Slurm sets its number of tasks for programs that are no MPI ranks, too; with PMIx this one is.
    let slurm = || variable("PMIX_RANK").and_then(|_| number(variable, "SLURM_STEP_NUM_TASKS"));
    number(variable, "OMPI_COMM_WORLD_SIZE").or_else(|| number(variable, "PMI_SIZE")).or_else(slurm)
}

fn number(variable: &dyn Fn(&str) -> Option<OsString>, key: &str) -> Option<usize> {
    variable(key)?.to_str()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_told_from_a_lone_process() {
        let of = |pairs: &[(&str, &str)]| {
            ranks_of(&|key| pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(4));
        assert_eq!(of(&[("PMI_SIZE", "2")]), Some(2));
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "8")]), None);
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "8"), ("PMIX_RANK", "0")]), Some(8));
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "many")]), None);
    }
}
