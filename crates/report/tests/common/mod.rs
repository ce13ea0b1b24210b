//! Run folders as `train` leaves them, written by hand.

use journal::Run;
use journal::events::{self, Event, Kind};
use journal::metrics::{Record, Step, Writer};
use journal::samples::{self, Sample};
use std::path::Path;

pub const STEPS: u64 = 400;

/// A line of a run that collapses and recovers.
pub fn line(step: u64) -> Step {
    let x = step as f64 / STEPS as f64;
    let is_stage2 = step * 2 >= STEPS;
    let loss =
        if is_stage2 { 7.2 + 0.3 / (1.0 + 20.0 * (x - 0.5)) } else { 10.9 - x } + (step as f64).sin() / 50.0;
    let is_recorded = step == 0 || (step + 1).is_multiple_of(20);
    let shares: Vec<f32> = (0..4).map(|layer| 0.31 + layer as f32 * 0.01 + x as f32 * 0.05).collect();
    let record = Record {
        phase: Some(if is_stage2 { "stage-2" } else { "stage-1" }.into()),
        validation_loss: (step + 1).is_multiple_of(100).then_some(loss + 0.05),
        validation_bits_per_byte: (step + 1).is_multiple_of(100).then_some(loss / 2.2),
        ternary_validation_loss: (step + 1).is_multiple_of(100).then_some(loss + 0.5),
        unique_tokens: Some(if is_stage2 { 11 } else { 20 - (x * 36.0) as u32 }),
        output_entropy: Some(if is_stage2 { 6.9 } else { 10.7 }),
        repetition: Some(0.4),
        zero_share: Some(shares.clone()),
        flip_rate: Some(shares.iter().map(|share| share / 10.0).collect()),
        scale: Some(shares.iter().map(|share| share / 20.0).collect()),
        memory_bytes: Some(210_000_000 + step),
    };
    Step {
        step,
        tokens: (step + 1) * 128,
        loss,
        bits_per_byte: loss / 2.2,
        lr: 5e-4 * (1.0 - x),
        weight_decay: if is_stage2 { 0.0 } else { 0.1 },
        lambda: (x * 4.0).min(1.0),
        grad_norm: 2.0 + (step as f64).cos(),
        distillation: step.is_multiple_of(2).then_some([0.5, loss / 3.0, 0.1]),
        tokens_per_s: 3000.0 + (step % 13) as f64,
        record: if is_recorded { record } else { Record::default() },
    }
}

/// A run folder with everything in it.
pub fn run(dir: &Path) -> Run {
    let run = Run::create(dir).unwrap();
    let config = "[model]\nhidden = 256\n\n[train]\nsteps = 400\nclip = 1.0\n";
    std::fs::write(run.config(), config).unwrap();
    let mut writer = Writer::open_at(&run.metrics(), 0).unwrap();
    (0..STEPS).for_each(|step| writer.append(&line(step)).unwrap());
    let mut events = events::Writer::open_at(&run.events(), 0).unwrap();
    for (step, kind, message) in [
        (0, Kind::Start, "28433152 parameters, 400 steps"),
        (200, Kind::Phase, "stage-2 begins"),
        (250, Kind::Guard, "step 249 is not applied: <b>loss</b> is not finite"),
        (400, Kind::Finish, "400 steps"),
    ] {
        events.append(&Event { step, kind, message: message.into() }).unwrap();
    }
    let facts = serde_json::json!({
        "parameters": 28_433_152, "ln_vocabulary": 10.824905, "unigram_entropy": 7.2, "kernel": "avx2",
    });
    run.write_facts(facts.as_object().unwrap()).unwrap();
    let sample = |step, text: &str| Sample { step, prompt: "The old man".into(), text: text.into() };
    let said = [sample(0, " Zq</script><script>alert(1)</script>"), sample(400, " sat by the river.")];
    let mut writer = samples::Writer::open_at(&run.samples(), u64::MAX).unwrap();
    said.iter().for_each(|sample| writer.append(sample).unwrap());
    let findings = r#"{"findings": [{"code": "T104", "name": "coupled-l2", "severity": "warning",
        "evidence": "train.optimizer is <i>adam</i>", "remedy": "set it to adamw"}]}"#;
    std::fs::write(run.findings(), findings).unwrap();
    run
}
