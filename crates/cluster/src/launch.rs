//! What the launcher says in the environment.

use std::ffi::OsString;

/// Ranks that `mpirun`, `mpiexec` or `srun` started this process among; `None` where none of them did.
pub fn ranks() -> Option<usize> {
    ranks_of(&|key| std::env::var_os(key))
}

/// Ranks on this machine, where the launcher tells; 1 otherwise.
pub fn ranks_here() -> usize {
    number(&|key| std::env::var_os(key), "OMPI_COMM_WORLD_LOCAL_SIZE").unwrap_or(1).max(1)
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
