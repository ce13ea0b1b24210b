//! The rules of the house over the real tree: what `cargo xtask tidy` does, inside `cargo test`.

use xtask::tidy::CHECKS;
use xtask::tree::{self, Tree};

#[test]
fn the_tree_is_tidy() {
    let root = tree::root();
    if !root.join(".git").exists() {
        println!("skipped: 1 test needs a git clone");
        return;
    }
    let tree = Tree::read(&root).expect("the repository can be read");
    let findings: Vec<String> =
        CHECKS.iter().flat_map(|check| check.run(&tree)).map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
