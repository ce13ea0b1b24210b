//! What the model says after fixed prompts, and which garbage it is.
//!
//! Garbage is a fingerprint: `!!!!` and `@@@@` come from a wrong layout of packed weights, `GGGG` and `,,,,` from a wrong scale or a
//! model that was hardly trained, loops of fluent words from a wrong activation (or from greedy decoding of a small model, which is
//! why a loop alone is a note). The probe lets the model go on greedily after four prompts.
//!
//! Remedy: follow the other findings: layout (P106), scale (P105, T409), activation (P104), training (T2).
//!
//! Source: outputs of broken conversions in three studies and in issues of microsoft/BitNet.

use super::listen::{engine, greedy};
use super::{Case, Measured, Outcome, Probe, ProbeError};
use crate::Sign;

/// See the module.
pub struct Fingerprint;

/// Tokens of each answer.
const ANSWER: usize = 32;
/// A shorter answer says nothing, tokens.
const ANSWER_MIN: usize = 8;
/// The longest loop that is looked for, tokens.
const LOOP_MAX: usize = 8;

impl Probe for Fingerprint {
    fn code(&self) -> &'static str {
        "P101"
    }

    fn name(&self) -> &'static str {
        "fingerprint"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let prompts = infer::prompts(case.model.config().vocabulary, case.tokenizer);
        let engine = engine(&*case.model.source, 1.0)?;
        let answers =
            prompts.iter().map(|prompt| greedy(&engine, prompt, ANSWER)).collect::<Result<Vec<_>, _>>()?;
        if answers.iter().any(|answer| answer.len() < ANSWER_MIN) {
            return Ok(Outcome::skipped("the context is too short for an answer"));
        }
        let spell = |ids: &[u32]| match case.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids),
            None => format!("{ids:?}"),
        };
        let shown: String = spell(&answers[0]).chars().take(40).collect();
        let single = answers.iter().filter(|answer| period(answer) == Some(1)).count();
        let same =
            answers.iter().all(|answer| answer[answer.len() / 2..] == answers[0][answers[0].len() / 2..]);
        let looping = answers.iter().filter(|answer| period(answer).is_some()).count();
        let text =
            format!("{shown:?}…; of {} answers {looping} loop, {single} repeat one token", answers.len());
        let known = cause(spell(&answers[0][answers[0].len() - 4..]).trim());
        let early = case.patient.subject.is_before_switch();
        let sign = match (single, same) {
            (3.., true) if early => Some(Sign::note(format!("one token after every prompt: {text}"))),
            (3.., true) => Some(Sign::error(format!("one token after every prompt: {text}{known}"))),
            (3.., false) if early => Some(Sign::note(format!("single tokens repeated: {text}"))),
            (3.., false) => Some(Sign::warning(format!("single tokens repeated: {text}{known}"))),
            _ => None,
        };
        Ok(Outcome::Measured(Measured { text, sign, fix: None }))
    }
}

/// Tokens after which the second half of an answer repeats itself, where it does.
fn period(answer: &[u32]) -> Option<usize> {
    let tail = &answer[answer.len() / 2..];
    (1..=LOOP_MAX.min(tail.len() / 2)).find(|period| tail.iter().zip(&tail[*period..]).all(|(a, b)| a == b))
}

/// What such an end is known to come from.
fn cause(end: &str) -> &'static str {
    let all = |letters: &str| !end.is_empty() && end.chars().all(|letter| letters.contains(letter));
    match end {
        end if all("!@") && !end.is_empty() => "; this is what a wrong layout of packed weights says",
        _ if all("G") || all(",. ") => "; this is what a wrong scale or a hardly trained model says",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_found_by_their_period() {
        assert_eq!(period(&[9, 8, 7, 6, 5, 5, 5, 5]), Some(1));
        assert_eq!(period(&[9, 8, 7, 6, 1, 2, 1, 2]), Some(2));
        assert_eq!(period(&[1, 2, 3, 4, 5, 6, 7, 8]), None);
        assert!(
            cause("!!!!").contains("layout") && cause(",,,").contains("scale") && cause("the").is_empty()
        );
    }
}
