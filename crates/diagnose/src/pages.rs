//! The pages of rules and probes: docs/rules.md, which is made of the comments at the head of their files.

use crate::{Finding, Sign};

/// What people read; the tests compare it with the comments.
static RULES: &str = include_str!("../../../docs/rules.md");

/// One section of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// for example `T101 stage2-weight-decay`
    pub heading: String,
    /// one sentence
    pub title: String,
    /// what it means
    pub meaning: String,
    /// what to do
    pub remedy: String,
    /// where the knowledge is from
    pub source: String,
    /// all of it, in Markdown
    pub text: String,
}

/// The page of a rule or a probe.
pub fn page(code: &str) -> Option<Page> {
    let start = RULES.find(&format!("\n## {code} "))? + "\n## ".len();
    let section = &RULES[start..];
    let section = section.split("\n## ").next().unwrap_or(section);
    let mut paragraphs = section.trim_end().split("\n\n");
    let heading = paragraphs.next()?.trim().to_owned();
    let paragraphs: Vec<String> = paragraphs.map(|text| text.replace('\n', " ")).collect();
    let after = |word: &str| {
        paragraphs
            .iter()
            .find_map(|text| text.strip_prefix(word))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    Some(Page {
        heading,
        title: paragraphs.first()?.trim_matches('*').to_owned(),
        meaning: paragraphs.get(1)?.clone(),
        remedy: after("Remedy:"),
        source: after("Source:"),
        text: format!("## {}\n", section.trim_end()),
    })
}

/// A sign with its page.
pub fn finding(code: &'static str, name: &'static str, sign: Sign) -> Finding {
    let page = page(code).unwrap_or_default();
    Finding {
        code,
        name,
        severity: sign.severity,
        evidence: sign.evidence,
        place: sign.place,
        meaning: page.meaning,
        remedy: page.remedy,
        source: page.source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::path::Path;

    const HEAD: &str = "# Rules and probes\n\n\
        What `trilobit diagnose` knows. Each section is the comment at the head of one file in `crates/diagnose/src/rules` or\n\
        `crates/diagnose/src/probes`, and a test keeps them equal. T1 is about the recipe, T2 about progress, T3 about the log,\n\
        T4 about tensors, T5 about what files say; the probes, P1, run the model.\n";

    /// The comment at the head of a file, under the heading of its code.
    fn section(out: &mut String, folder: &str, code: &str, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name.replace('-', "_") + ".rs");
        let source =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line));
        let text: Vec<&str> = lines.collect();
        let text = text.join("\n");
        let (title, rest) = text.trim_end().split_once("\n\n").expect("a headline, then paragraphs");
        write!(out, "\n## {code} {name}\n\n**{title}**\n\n{rest}\n").unwrap();
    }

    #[test]
    fn the_page_is_fresh() {
        let mut wanted = HEAD.to_owned();
        for rule in crate::rules::RULES {
            section(&mut wanted, "src/rules", rule.code(), rule.name());
        }
        let mut probes: Vec<_> =
            crate::probes::PROBES.iter().map(|probe| (probe.code(), probe.name())).collect();
        probes.sort_unstable();
        probes.iter().for_each(|(code, name)| section(&mut wanted, "src/probes", code, name));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            formats::atomic::write_bytes(&path, wanted.as_bytes()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap();
        assert!(found == wanted, "docs/rules.md is stale: run the tests of this crate with UPDATE_DOCS=1");
    }

    #[test]
    fn a_section_falls_into_its_parts() {
        let page = page("T101").unwrap();
        assert_eq!(page.heading, "T101 stage2-weight-decay");
        assert!(
            page.remedy.contains("weight_decay2 = 0") && page.source.contains("Training Tips"),
            "{page:?}"
        );
        assert!(page.text.starts_with("## T101") && !page.text.contains("## T102"));
        assert_eq!(super::page("T999"), None);
    }
}
