//! What every rule has to be like, and that their pages are fresh.

use super::fixture::healthy;
use super::{RULES, judge};
use crate::{Subject, pages};
use std::path::Path;

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules").join(name.replace('-', "_") + ".rs");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn codes_are_ordered_and_every_rule_has_its_file_with_both_tests() {
    assert!(RULES.len() >= 35, "{} rules", RULES.len());
    for pair in RULES.windows(2) {
        assert!(pair[0].code() < pair[1].code(), "{} before {}", pair[0].code(), pair[1].code());
    }
    for rule in RULES {
        let source = source(rule.name());
        for test in ["fn it_fires()", "fn it_is_silent()"] {
            assert!(source.contains(test), "{} lacks {test}", rule.name());
        }
        let page = pages::page(rule.code()).unwrap_or_else(|| panic!("{} has no page", rule.code()));
        let parts = [&page.title, &page.meaning, &page.remedy, &page.source];
        assert!(parts.iter().all(|part| part.len() > 3), "{}: {page:?}", rule.code());
    }
}

#[test]
fn nothing_is_said_about_a_healthy_or_an_empty_subject() {
    assert_eq!(judge(&healthy()), []);
    assert_eq!(judge(&Subject::default()), []);
}
