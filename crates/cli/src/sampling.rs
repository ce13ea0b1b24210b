//! How tokens are chosen, as typed: the arguments that `generate` and `chat` share.

use anyhow::{Context, Result, bail};
use formats::{bounded, limits, nearest};
use infer::{Constraint, Grammar, Mirostat, Sampling};
use std::path::PathBuf;
use text::Tokenizer;

/// As typed.
#[derive(Clone, clap::Args)]
pub struct SamplingArgs {
    /// Below 1 the likely become likelier, above 1 the choice widens; 0 always takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among the K likeliest tokens; 0 means all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least SHARE times as likely as the likeliest
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Choose among the tokens nearest to the expected surprise that together have probability P
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    typical_p: f32,
    /// Above 1, tokens seen before become less likely
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Taken from the logits of tokens that were generated before
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    presence_penalty: f32,
    /// Taken from the logit of a token for each time it was generated before
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    frequency_penalty: f32,
    /// Added to the logit of a token id; may be given several times
    #[arg(long, value_name = "ID=X", value_parser = bias, allow_hyphen_values = true, hide_short_help = true)]
    logit_bias: Vec<(u32, f32)>,
    /// Mirostat 2: hold the surprise at so many bits per token; replaces the choices by K, P and SHARE
    #[arg(long, value_name = "BITS", allow_negative_numbers = true, hide_short_help = true)]
    mirostat: Option<f32>,
    /// Share of a miss that mirostat corrects
    #[arg(
        long,
        value_name = "ETA",
        default_value_t = 0.1,
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    mirostat_eta: f32,
    /// The same seed draws the same tokens
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

/// What [`SamplingArgs::set`] knows.
const KEYS: [&str; 9] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
];

impl SamplingArgs {
    /// For the engine.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repetition_penalty: self.repeat_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.clone(),
            mirostat: self.mirostat.map(|tau| Mirostat { tau, eta: self.mirostat_eta }),
            seed: self.seed,
        }
    }

    /// Changes one value by its name; `top_k` and `top-k` are the same.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let mut changed = self.clone();
        let key = key.replace('-', "_");
        let wrong = || format!("{key} = '{value}' is no number that it could be");
        let number = |slot: &mut f32| value.parse().map(|value| *slot = value).with_context(wrong);
        match key.as_str() {
            "temperature" => number(&mut changed.temperature)?,
            "top_p" => number(&mut changed.top_p)?,
            "min_p" => number(&mut changed.min_p)?,
            "typical_p" => number(&mut changed.typical_p)?,
            "repeat_penalty" => number(&mut changed.repeat_penalty)?,
            "presence_penalty" => number(&mut changed.presence_penalty)?,
            "frequency_penalty" => number(&mut changed.frequency_penalty)?,
            "top_k" => changed.top_k = value.parse().with_context(wrong)?,
            "seed" => changed.seed = value.parse().with_context(wrong)?,
            _ => bail!(
                "there is no '{key}' to set{}; the keys are {}",
                nearest::hint(&key, KEYS),
                KEYS.join(", ")
            ),
        }
        changed.sampling().validate()?;
        *self = changed;
        Ok(())
    }
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parse = || {
        let (id, bias) = text.split_once('=')?;
        Some((id.trim().parse().ok()?, bias.trim().parse().ok()?))
    };
    parse().ok_or_else(|| format!("'{text}' is no ID=X, such as 464=-100"))
}

/// What the text must be, as typed.
#[derive(Clone, clap::Args)]
#[group(multiple = false)]
pub struct GrammarArgs {
    /// Write JSON of the schema in this file
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Write a text of the Lark grammar in this file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    grammar: Option<PathBuf>,
    /// Write a text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, hide_short_help = true)]
    regex: Option<String>,
}

impl GrammarArgs {
    /// For the engine, if there is one; `ends` are the ids that may end the text.
    pub fn constraint(&self, tokenizer: &Tokenizer, ends: &[u32]) -> Result<Option<Constraint>> {
        let grammar = if let Some(path) = &self.json_schema {
            let text = bounded::read_text(path, limits::CONFIG_BYTES_MAX)?;
            let schema = serde_json::from_str(&text)
                .with_context(|| format!("{}: it is no JSON, so it is no JSON schema", path.display()))?;
            Grammar::JsonSchema(schema)
        } else if let Some(path) = &self.grammar {
            Grammar::Lark(bounded::read_text(path, limits::CONFIG_BYTES_MAX)?)
        } else if let Some(regex) = &self.regex {
            Grammar::Regex(regex.clone())
        } else {
            return Ok(None);
        };
        let file = self.json_schema.as_ref().or(self.grammar.as_ref());
        let constraint = Constraint::new(&grammar, tokenizer, ends);
        Ok(Some(match file {
            Some(path) => constraint.with_context(|| path.display().to_string())?,
            None => constraint?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    fn typed(words: &[&str]) -> SamplingArgs {
        Line::parse_from([&["line"], words].concat()).sampling
    }

    #[test]
    fn every_key_can_be_set_and_what_is_wrong_changes_nothing() {
        let mut args = typed(&[]);
        for key in KEYS {
            args.set(&key.replace('_', "-"), "1").unwrap();
        }
        let all = Sampling { top_k: 1, temperature: 1.0, min_p: 1.0, seed: 1, ..Sampling::default() };
        let all = Sampling { presence_penalty: 1.0, frequency_penalty: 1.0, ..all };
        assert_eq!(args.sampling(), all);
        for (key, value, part) in
            [("temprature", "1", "'temperature'"), ("top_p", "x", "'x'"), ("min_p", "7", "min_p = 7")]
        {
            let sentence = format!("{:#}", args.set(key, value).unwrap_err());
            assert!(sentence.contains(part), "{sentence}");
            assert_eq!(args.sampling(), all);
        }
    }

    #[test]
    fn biases_and_mirostat_are_read() {
        let args = typed(&["--logit-bias", "7=-100", "--logit-bias", "8=2.5", "--mirostat", "5"]);
        assert_eq!(args.sampling().logit_bias, [(7, -100.0), (8, 2.5)]);
        assert_eq!(args.sampling().mirostat, Some(Mirostat { tau: 5.0, eta: 0.1 }));
        assert!(bias("7").is_err() && bias("x=1").is_err() && bias("7=y").is_err());
    }
}
