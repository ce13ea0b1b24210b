//! Working an adapter into the model that is exported, and what of it survives.

use anyhow::{Result, bail};
use checkpoint::Loaded;
use checkpoint::hf::peft;
use checkpoint::merged::Merged;
use eval::{Perplexity, Windows};
use formats::bounded;
use infer::{Engine, EngineOptions};
use model::{Adapter, LinearKind, Source};
use std::path::{Path, PathBuf};

/// Longest text that a loss is measured on, bytes.
const TEXT_BYTES_MAX: u64 = 1 << 24;
/// Tokens of a window, where the model can read as many.
const WINDOW: usize = 512;

/// As typed.
#[derive(clap::Args)]
pub struct MergeArgs {
    /// Work this LoRA adapter into the matrices; into ternary ones only with --quantize and --text
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// With --adapter beside a ternary model, the text that the loss is measured on, before and after
    #[arg(long, value_name = "FILE", requires = "adapter")]
    text: Option<PathBuf>,
}

impl MergeArgs {
    /// `model` with the adapter in its matrices, if one is named; says what that cost a ternary one.
    pub fn apply(&self, model: Loaded, quantize: bool) -> Result<Loaded> {
        let Some(folder) = &self.adapter else { return Ok(model) };
        let peft::Opened { adapter, chat_template, .. } = peft::open(folder, model.config())?;
        let is_ternary = model.config().linear == LinearKind::Ternary;
        if is_ternary && !quantize {
            bail!(
                "{}: a ternary matrix and an adapter have no ternary sum, so the adapter cannot be merged into {}; serve it beside the model (generate MODEL --adapter DIR), or ask for --quantize --text FILE, which rounds the sum to three values again and measures what is lost",
                folder.display(),
                model.path.display()
            );
        }
        let text = match (&self.text, is_ternary) {
            (Some(text), _) => Some(bounded::read_text(text, TEXT_BYTES_MAX)?),
            (None, true) => bail!(
                "--text FILE is missing: name a text that the adapter was not trained on, so that what rounding loses can be measured"
            ),
            (None, false) => None,
        };
        let mut losses = Vec::new();
        if let Some(text) = &text {
            losses.push(loss(&model, &*model.source, None, text)?);
            losses.push(loss(&model, &*model.source, Some(&adapter), text)?);
        }
        let Loaded { source, chat_template: own, .. } = model;
        let merged = Merged::new(source, adapter)?;
        let changed = merged.changed()?;
        let model = Loaded { source: Box::new(merged), chat_template: chat_template.or(own), ..model };
        if let Some(text) = &text {
            losses.push(loss(&model, &*model.source, None, text)?);
        }
        say(&losses, changed, self.text.as_deref());
        Ok(model)
    }
}

/// Nats of a token of `text` under the tensors of `source`, which belong to `model`.
fn loss(model: &Loaded, source: &dyn Source, adapter: Option<&Adapter>, text: &str) -> Result<f64> {
    let Some(tokenizer) = infer::tokenizer(model)? else {
        bail!(
            "{}: it has no tokenizer, and a text is measured in tokens; add it with --tokenizer FILE",
            model.path.display()
        )
    };
    let mut engine = Engine::new(source, EngineOptions { screen: false, ..EngineOptions::default() })?;
    if let Some(adapter) = adapter {
        engine = engine.with_adapter(adapter);
    }
    let window = WINDOW.min(engine.config().context);
    let mut session = engine.session(window)?;
    let windows = Windows { window, stride: window };
    let Perplexity { nll_per_token, .. } =
        eval::perplexity(&mut session, &tokenizer, text, windows, &mut |_, _| ())?;
    Ok(nll_per_token)
}

fn say(losses: &[f64], changed: Option<f64>, text: Option<&Path>) {
    if let Some(changed) = changed {
        println!("merging changed {:.2} % of the codes of the adapted matrices", 100.0 * changed);
    }
    if let ([model, beside, merged], Some(text)) = (losses, text) {
        println!(
            "loss on {}, nats a token: {model:.4} of the model, {beside:.4} with the adapter beside it, {merged:.4} merged",
            text.display()
        );
    }
}
