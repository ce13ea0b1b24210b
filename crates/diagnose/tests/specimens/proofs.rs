//! A fix that a probe proved makes the model whole again.

use crate::base::{Base, open};
use crate::edit::config_json;
use crate::{base, codes, models};
use checkpoint::OpenOptions;
use diagnose::probes::{self, Request};
use infer::Answers;
use std::path::Path;

/// The greatest relative difference of logits between two models.
fn apart(a: &Path, b: &Path) -> f32 {
    let (a, b) = (open(a), open(b));
    let prompts = infer::prompts(a.config().vocabulary, infer::tokenizer(&a).unwrap().as_ref());
    let answers = Answers::of(&*a.source, &prompts, None).unwrap();
    answers.agreement(&Answers::of(&*b.source, &prompts, Some(&answers)).unwrap()).largest
}

fn fix(base: &Base, name: &str, dir: &Path) {
    let specimen = models::specimens().find(|specimen| specimen.name.starts_with(name)).expect(name);
    let sick = (specimen.make)(base, dir);
    let patient = diagnose::open(&sick, &OpenOptions::default(), &mut |_, _| ()).unwrap();
    let report = probes::run(&patient, &Request::default(), &mut |_| ()).unwrap();
    assert_eq!(report.fixes.len(), 1, "{name}: {:?}", report.measured);
    let out = dir.join(if sick.is_dir() { "fixed" } else { "fixed.gguf" });
    let said = diagnose::fix::write(&patient, &report.fixes, &out).unwrap();
    assert!(said.contains("holds the model with"), "{said}");
    assert!(apart(&sick, &base.gguf()) > 1e-3, "{name}: the fault does nothing");
    assert!(apart(&out, &base.gguf()) < 0.05, "{name}: still {} apart", apart(&out, &base.gguf()));
    assert_eq!(codes(&out, &OpenOptions::default()), [], "{name}");
    assert!(
        diagnose::fix::write(&patient, &[], &dir.join("none"))
            .unwrap_err()
            .to_string()
            .contains("no probe proved")
    );
}

#[test]
fn planted_faults_are_found_and_put_right() {
    for name in [
        "conversion: scales inverted",
        "conversion: SiLU for squared ReLU",
        "conversion: I2_S in ARM",
        "conversion: q and k permuted",
        "folder: linear_class bitlinear",
    ] {
        fix(base(), name, tempfile::tempdir().unwrap().path());
    }
}

#[test]
fn a_short_context_is_no_reason_to_panic() {
    for context in 1..=9 {
        let dir = tempfile::tempdir().unwrap();
        let path = config_json(&base().hf(), dir.path(), |config| {
            config.insert("max_position_embeddings".into(), context.into());
        });
        let patient = diagnose::open(&path, &OpenOptions::default(), &mut |_, _| ()).unwrap();
        assert_eq!(patient.subject.config.as_ref().unwrap().context, context);
        let report = probes::run(&patient, &Request::default(), &mut |_| ()).unwrap();
        let first = &report.measured[0];
        assert!(!first.ran && first.outcome.contains("too short"), "{context}: {}", first.outcome);
    }
}

/// What `llama-perplexity --kl-divergence-base` would write of these logits after these ids.
fn log_probabilities(ids: &[u32], logits: &[Vec<f32>]) -> Vec<u8> {
    let context = ids.len() + 1;
    let vocabulary = logits[0].len();
    let mut bytes = b"_logits_".to_vec();
    [context, vocabulary, 1].iter().for_each(|number| bytes.extend((*number as i32).to_le_bytes()));
    ids.iter().chain(&[0]).for_each(|id| bytes.extend(id.to_le_bytes()));
    for row in &logits[context / 2..] {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let total = largest + row.iter().map(|x| (x - largest).exp()).sum::<f32>().ln();
        let lowest = row.iter().copied().fold(f32::MAX, f32::min).max(largest - 16.0);
        let step = (largest - lowest) / 65535.0;
        [step, lowest - total].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        let code = |x: &f32| ((x.max(lowest) - lowest) / step).round() as u16;
        row.iter().map(code).for_each(|code| bytes.extend(code.to_le_bytes()));
        bytes.extend(&[0, 0][..2 * (vocabulary % 2)]);
    }
    bytes
}

/// The golden folders hold what transformers says about random models of nine families.
#[test]
fn logits_that_transformers_dumped_agree() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf");
    let dir = tempfile::tempdir().unwrap();
    let mut families = 0;
    for folder in std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()) {
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
        let line = serde_json::json!({"ids": expected["ids"], "logits": expected["logits"]});
        let (dump, cut) = (dir.path().join("dump.jsonl"), dir.path().join("dump.kld"));
        std::fs::write(&dump, format!("{line}\n")).unwrap();
        let ids: Vec<u32> = serde_json::from_value(expected["ids"].clone()).unwrap();
        let mut logits: Vec<Vec<f32>> = serde_json::from_value(expected["logits"].clone()).unwrap();
        std::fs::write(&cut, log_probabilities(&ids, &logits)).unwrap();
        let patient = diagnose::open(&folder, &OpenOptions::default(), &mut |_, _| ()).unwrap();
        let signs = |dump: &Path| {
            let request = Request { against: Some(dump), ids: None };
            let report = probes::run(&patient, &request, &mut |_| ()).unwrap();
            let parity = report.measured.iter().find(|line| line.code == "P108").unwrap();
            assert!(parity.ran && parity.outcome.contains("against the dumped logits"), "{parity:?}");
            report.findings.into_iter().filter(|finding| finding.code == "P108").collect::<Vec<_>>()
        };
        for dump in [&dump, &cut] {
            let signs = signs(dump);
            assert!(signs.is_empty(), "{}: {signs:?}", folder.display());
        }
        logits.iter_mut().for_each(|row| row.rotate_left(1));
        std::fs::write(&cut, log_probabilities(&ids, &logits)).unwrap();
        assert!(!signs(&cut).is_empty(), "{}: another model's log-probabilities agree", folder.display());
        families += 1;
    }
    assert!(families >= 9, "{families} families");
}

#[test]
fn forms_of_one_model_agree_and_another_model_does_not() {
    let base = base();
    let patient = diagnose::open(&base.run(), &OpenOptions::default(), &mut |_, _| ()).unwrap();
    let parity = |against: &Path| {
        let request = Request { against: Some(against), ids: None };
        let report = probes::run(&patient, &request, &mut |_| ()).unwrap();
        report.findings.iter().any(|finding| finding.code == "P108")
    };
    for same in [base.gguf(), base.hf(), base.path("online"), base.checkpoint()] {
        assert!(!parity(&same), "{}", same.display());
    }
    let first = base.path("run/checkpoints/step-00000000");
    assert!(parity(&first));
}
