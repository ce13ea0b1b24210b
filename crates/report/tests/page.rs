//! The page: its numbers are those of the files, its texts are texts, and nothing that a file says breaks it.

mod common;

use common::{STEPS, line, run};
use proptest::prelude::*;
use report::section::SECTIONS;
use report::{RunData, page};
use serde_json::Value;

/// The data that a page carries.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").expect("the data");
    serde_json::from_str(rest.split_once("</script>").expect("its end").0).expect("JSON")
}

#[test]
fn the_numbers_are_those_of_the_metrics_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir.path().join("study"));
    let page = page(&[RunData::read(run.dir()).unwrap()], false);
    let data = data(&page);
    assert_eq!(data["runs"][0]["name"], "study");
    let columns = &data["runs"][0]["columns"];
    let text = std::fs::read_to_string(run.metrics()).unwrap();
    let mut compared = 0;
    for (index, line) in text.lines().enumerate() {
        let line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        for (key, value) in line {
            assert_eq!(columns[&key][index], value, "{key} of line {index}");
            compared += 1;
        }
    }
    assert!(compared as u64 > 9 * STEPS);
    assert_eq!(columns["loss"].as_array().unwrap().len() as u64, STEPS);
}

#[test]
fn every_section_is_there_and_what_others_wrote_is_text() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir.path().join("<i>\"study\""));
    let weights = model::Weights::random(&model::presets::model("tiny").unwrap(), 1);
    let mut data = RunData::read(run.dir()).unwrap();
    data.histograms = Some(report::weights::Histograms::of(&weights, "step-00000400".into()).unwrap());
    let page = page(&[data, RunData::read(run.dir()).unwrap()], false);
    for section in SECTIONS {
        assert!(page.contains(&format!("<section id=\"{}\"", section.id())), "{}", section.id());
    }
    for text in [
        "&lt;b&gt;loss&lt;/b&gt;",
        "&lt;i&gt;adam&lt;/i&gt;",
        "&lt;script&gt;alert(1)",
        "T104",
        "sat by the river",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<i>") && !page.contains("alert(1)</script>"));
    assert_eq!(page.matches("</script>").count(), 2, "the data and the script");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}: the page needs nothing from elsewhere");
    }
}

#[test]
fn a_long_run_is_thinned_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir.path().join("long"));
    let mut writer = journal::metrics::Writer::open_at(&run.metrics(), 0).unwrap();
    for step in 0..30_000 {
        // Nine of ten losses are 1: their mean is near that, and not half-way to the others.
        let loss = if step % 10 == 0 { 11.0 } else { 1.0 };
        writer.append(&journal::metrics::Step { step, loss, ..line(step % STEPS) }).unwrap();
    }
    let run = RunData::read(run.dir()).unwrap();
    let last = run.steps.len() - 1;
    assert_eq!((last, journal::collapse::smoothed_loss(&run.steps, last)), (29_999, Some(2.0)));
    let page = page(&[run], false);
    assert!(page.contains("of 30,000 lines are drawn"));
    let embedded = data(&page)["runs"][0]["columns"]["step"].as_array().unwrap().len();
    assert!((5_000..25_000).contains(&embedded), "{embedded}");
}

#[test]
fn a_run_that_has_only_begun_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let run = journal::Run::create(&dir.path().join("new")).unwrap();
    std::fs::write(run.config(), "").unwrap();
    let page = page(&[RunData::read(run.dir()).unwrap()], true);
    assert!(page.contains("Nothing is recorded yet") && page.contains("data-live=\"1\""));
    assert_eq!(data(&page)["runs"][0]["lines"], 0);
}

/// A line that no trainer would write: numbers of any size, absent ones, layers of any number.
fn hostile() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<f64>().prop_map(|x| serde_json::json!(x)),
        Just(Value::Null),
        Just(serde_json::json!(1e308)),
        Just(serde_json::json!(-1e308)),
    ];
    let fields = prop::collection::vec(number.clone(), 12);
    let layers = prop::collection::vec(number, 0..40);
    (any::<u64>(), fields, layers, "\\PC{0,12}").prop_map(|(step, f, layers, phase)| {
        let line = serde_json::json!({
            "step": step, "tokens": step, "loss": f[0], "bits_per_byte": f[1], "lr": f[2], "weight_decay": f[3],
            "lambda": f[4], "grad_norm": f[5], "tokens_per_s": f[6], "validation_loss": f[7], "output_entropy": f[8],
            "repetition": f[9], "unique_tokens": step as u32, "zero_share": layers, "scale": layers, "phase": phase,
        });
        line.to_string()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hostile_metrics_make_a_sound_page(lines in prop::collection::vec(hostile(), 0..12), steps in any::<i64>()) {
        let dir = tempfile::tempdir().unwrap();
        let run = run(&dir.path().join("a"));
        std::fs::write(run.config(), format!("[train]\nsteps = {steps}\n")).unwrap();
        std::fs::write(run.metrics(), lines.join("\n") + "\n").unwrap();
        let Ok(read) = RunData::read(run.dir()) else { return Ok(()) };
        prop_assert!(!report::terminal::summary(std::slice::from_ref(&read)).is_empty());
        let runs = [read, RunData::default()];
        let page = page(&runs, false);
        prop_assert!(data(&page)["runs"].as_array().is_some_and(|runs| runs.len() == 2));
        let (drawn, _) = page.split_once("<script id=\"data\"").expect("the data");
        for text in ["NaN", ">inf", "\"inf", "-inf"] {
            prop_assert!(!drawn.contains(text), "{}", text);
        }
    }
}
