//! Two ranks in two network namespaces, and the link between them taken down. Needs root and `ip`; skipped, visibly, without.

use crate::cluster::{end, metrics, prepare, process_of, program, resume, said, train, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Two namespaces with one link, 10.77.0.1 to 10.77.0.2; gone when dropped.
struct Link {
    near: String,
    far: String,
}

impl Link {
    /// Nothing where this user may not do it.
    fn new() -> Option<Self> {
        let id = std::process::id();
        let link = Self { near: format!("trn{id}"), far: format!("trf{id}") };
        let Self { near, far } = &link;
        let commands = [
            format!("netns add {near}"),
            format!("netns add {far}"),
            format!("link add veth0 netns {near} type veth peer name veth0 netns {far}"),
            format!("-n {near} addr add 10.77.0.1/24 dev veth0"),
            format!("-n {far} addr add 10.77.0.2/24 dev veth0"),
        ];
        let ups = [near, far]
            .into_iter()
            .flat_map(|space| ["lo", "veth0"].map(|device| format!("-n {space} link set {device} up")));
        let is_made = commands.into_iter().chain(ups).all(|command| ip(&command));
        is_made.then_some(link)
    }

    /// What `mpirun` calls instead of ssh: HOST COMMAND…
    fn agent(&self, dir: &Path) -> PathBuf {
        let path = dir.join("agent");
        let far = &self.far;
        let text =
            format!("#!/bin/sh\nshift\nexec ip netns exec {far} unshare --uts sh -c \"hostname far; $*\"\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for space in [&self.near, &self.far] {
            ip(&format!("netns del {space}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|Output { status, .. }| status.success())
}

#[test]
fn a_cut_network_ends_both_sides_with_the_name_of_the_other() {
    let Some(program) = program() else { return };
    let Some(link) = Link::new() else {
        return testkit::skip("the test with two network namespaces needs root and 'ip'");
    };
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (testkit::dataset(dir.path(), 500, 300), dir.path().join("run"));
    let mut mpirun = Command::new("ip");
    mpirun.args(["netns", "exec", &link.near, "mpirun", "-np", "2", "-H", "localhost:1,10.77.0.2:1"]);
    mpirun.args(["--mca", "plm_rsh_agent", crate::text(&link.agent(dir.path()))]);
    mpirun.args([
        "--mca",
        "oob_tcp_if_include",
        "10.77.0.0/24",
        "--mca",
        "btl_tcp_if_include",
        "10.77.0.0/24",
    ]);
    mpirun.args(["--mca", "btl", "tcp,self", "--bind-to", "none"]);
    // mpirun's own connections are looked after, too: without, it would wait long for the far side's last word.
    for (key, value) in [("time", "2"), ("intvl", "1"), ("probes", "2")] {
        mpirun.args(["--mca", &format!("oob_tcp_keepalive_{key}"), value]);
    }
    let args = train(&data, &run, 1_000_000, &["--rank-timeout", "4s"]);
    let mut child = prepare(mpirun, program, &args).spawn().unwrap();
    wait_for(&run.join("checkpoints/step-00000008"), &mut child);
    let far = process_of(1, &run);
    assert!(ip(&format!("-n {} link set veth0 down", link.near)));
    let (output, time) = end(child);
    let sentence = said(&output);
    assert!(!output.status.success() && time < Duration::from_secs(30), "{time:?}: {sentence}");
    // Whoever noticed first has said it: mpirun, or the near rank.
    let by_mpirun = sentence.contains("lost communication") && sentence.contains("10.77.0.2");
    assert!(by_mpirun || sentence.contains("rank 1 (process"), "{sentence}");
    let begun = Instant::now();
    while Path::new("/proc").join(&far).exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "rank 1 lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
    resume(&data, &run);
    assert!(metrics(&run).len() >= 8);
}
