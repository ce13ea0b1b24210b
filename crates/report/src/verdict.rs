//! What the records of a run allow to be said about it, and what they do not yet.

use crate::moments::{self, JUDGED};
use crate::number::{percent, short};
use crate::run::RunData;
use journal::collapse::{self, Seen, State};
use journal::events::Kind;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// it speaks
    Good,
    /// too early, or too little is known
    Open,
    /// something is wrong
    Bad,
}

/// A judgement in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// how it stands
    pub level: Level,
    /// sentences
    pub text: String,
}

/// The state at each of [`JUDGED`]; `None` where the run has not come so far or was not looked at.
pub fn states(run: &RunData) -> [Option<State>; JUDGED.len()] {
    let total = run.total_steps();
    JUDGED.map(|percent| {
        let line = moments::line_at(&run.steps, total, percent as f64, |s| s.record.unique_tokens.is_some())?;
        run.marks()?.state(collapse::seen(&run.steps, line)?)
    })
}

/// The state of the newest record.
pub fn state_now(run: &RunData) -> Option<State> {
    run.marks()?.state(seen_now(run)?)
}

/// What the newest record saw.
fn seen_now(run: &RunData) -> Option<Seen> {
    let line = run.steps.iter().rposition(|step| step.record.unique_tokens.is_some())?;
    collapse::seen(&run.steps, line)
}

/// Judges a run. Before the stage switch nothing is said about its end: the loss of a ternary model is S-shaped.
pub fn judge(run: &RunData) -> Verdict {
    let verdict = |level, text: String| Verdict { level, text };
    let Some(last) = run.steps.last() else {
        return verdict(Level::Open, "Nothing is recorded yet.".into());
    };
    let (done, total) = (last.step.saturating_add(1), run.total_steps().max(1));
    let stopped = match (run.is_finished(), run.knows_its_end()) {
        (true, _) => String::new(),
        (_, true) => format!("{done} of {} steps are done. ", run.last_step()),
        (_, false) => format!("{done} steps are done, of how many is not known. "),
    };
    if done.saturating_mul(2) <= total && !run.is_finished() {
        let text = format!(
            "{stopped}No verdict before half-way, where the second stage begins: the loss of a ternary model falls late, and what looks like a plateau or a collapse now says nothing about the end."
        );
        return verdict(Level::Open, text);
    }
    let state = state_now(run);
    let (level, what) = match state {
        Some(State::Healthy) => {
            (Level::Good, "The model is healthy: context changes its answers and lowers the loss.".into())
        }
        Some(State::Unigram) => {
            (Level::Bad, "The model knows how frequent tokens are, and nothing about context.".into())
        }
        Some(State::Uniform) => (
            Level::Bad,
            "The output is as good as uniform: nothing was learned, or it was lost again.".into(),
        ),
        Some(State::Degenerate) => (Level::Bad, degenerate_sentence(run)),
        None => (Level::Open, "The records do not say what state the model is in.".into()),
    };
    let level = if run.is_finished() { level } else { Level::Open };
    verdict(level, format!("{stopped}{what}{}{}", loss_sentence(run), guard_sentence(run)))
}

/// Why a model is called degenerate: it is sure of what is wrong, or it gives the same few answers.
fn degenerate_sentence(run: &RunData) -> String {
    match seen_now(run).zip(run.marks()) {
        Some((seen, marks)) if seen.loss > marks.ln_vocabulary => format!(
            "The model is sure of what is wrong: its loss of {} is above ln V ({}), what it would pay for knowing nothing; distinct answers to 20 prompts: {}.",
            short(seen.loss),
            short(marks.ln_vocabulary),
            seen.unique_tokens
        ),
        _ => "The model has collapsed to a few answers, whatever it is asked.".into(),
    }
}

fn loss_sentence(run: &RunData) -> String {
    let validation = run.steps.iter().rev().find_map(|step| step.record.validation_loss);
    let smoothed = collapse::smoothed_loss(&run.steps, run.steps.len() - 1);
    let Some(loss) = validation.or(smoothed) else {
        return " Its loss is not finite.".into();
    };
    let kind = if validation.is_some() { "validation" } else { "training" };
    let place = run.marks().and_then(|marks| Some((marks, marks.progress(loss)?)));
    match place {
        Some((marks, progress)) if progress > 1.0 => format!(
            " Its {kind} loss is {} nats a token, {} below the unigram entropy.",
            short(loss),
            short(marks.unigram_entropy - loss)
        ),
        Some((marks, progress)) => format!(
            " Its {kind} loss is {} nats a token, {} of the way from ln V ({}) to the unigram entropy ({}).",
            short(loss),
            percent(progress),
            short(marks.ln_vocabulary),
            short(marks.unigram_entropy)
        ),
        None => format!(" Its {kind} loss is {} nats a token.", short(loss)),
    }
}

fn guard_sentence(run: &RunData) -> String {
    match run.events.iter().filter(|event| event.kind == Kind::Guard).count() {
        0 => String::new(),
        1 => " A guard refused one step.".into(),
        count => format!(" Guards refused {count} steps."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::metrics::{Record, Step};

    fn run(done: u64, loss: f64, unique: u32) -> RunData {
        let record = Record { unique_tokens: Some(unique), output_entropy: Some(5.0), ..Record::default() };
        let steps = (0..done).map(|step| Step { step, loss, record: record.clone(), ..Step::default() });
        let facts = serde_json::json!({"ln_vocabulary": 9.0, "unigram_entropy": 6.0});
        RunData {
            steps: steps.collect(),
            config: "[train]\nsteps = 100".parse().unwrap(),
            facts: facts.as_object().unwrap().clone(),
            ..RunData::default()
        }
    }

    #[test]
    fn a_plateau_in_the_first_half_is_not_judged() {
        assert_eq!(judge(&run(0, 0.0, 0)).level, Level::Open);
        let early = judge(&run(50, 9.0, 2));
        assert!(early.level == Level::Open && early.text.contains("No verdict before half-way"));
        assert_eq!(judge(&run(70, 9.0, 2)).level, Level::Open, "not finished");
        assert_eq!(judge(&run(100, 9.0, 2)).level, Level::Bad);
        assert_eq!(judge(&run(100, 4.0, 9)).level, Level::Good);
        let unknown = judge(&RunData { config: toml::Table::new(), ..run(60, 9.0, 2) });
        assert!(unknown.level == Level::Open && unknown.text.starts_with("60 steps are done, of how many"));
        assert!(judge(&run(100, f64::NAN, 9)).text.contains("not finite"));
        let worse = judge(&run(100, 9.6, 12));
        assert!(worse.level == Level::Bad && worse.text.contains("above ln V (9)"), "{}", worse.text);
        assert!(
            worse.text.contains("20 prompts: 12") && !worse.text.contains("few answers"),
            "{}",
            worse.text
        );
        assert!(judge(&run(100, 5.5, 1)).text.contains("collapsed to a few answers"));
        assert_eq!(
            states(&run(60, 4.0, 9)),
            [Some(State::Healthy), Some(State::Healthy), Some(State::Healthy), None, None]
        );
    }
}
