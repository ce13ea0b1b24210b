//! Which model a conversion reads, and the bar that shows how far it is.

use anyhow::Result;
use checkpoint::{Loaded, OpenOptions, Phase, Progress};
use clap::ValueEnum;
use formats::llama2c::BitOrder;
use formats::quant::I2sLayout;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;

/// As typed.
#[derive(clap::Args)]
pub struct SourceArgs {
    /// A run folder, a checkpoint folder, a Hugging Face folder, a GGUF file, or a llama2.c file (.bin)
    pub model: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

/// What files do not say themselves, as typed.
#[derive(clap::Args)]
pub struct ReadArgs {
    /// A tokenizer.json to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Layout of I2_S tensors in a GGUF file; ARM builds of bitnet.cpp wrote their own
    #[arg(long, value_enum, default_value_t = Layout::X86, hide_short_help = true)]
    i2s_layout: Layout,
    /// Which bits of a byte hold the first of four weights in a ternary llama2.c file
    #[arg(long, value_enum, default_value_t = Bits::Low, hide_short_help = true)]
    bit_order: Bits,
}

#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    X86,
    Arm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bits {
    Low,
    High,
}

impl ReadArgs {
    /// What the file itself does not say.
    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            tokenizer: self.tokenizer.clone(),
            i2s: match self.i2s_layout {
                Layout::X86 => I2sLayout::X86,
                Layout::Arm => I2sLayout::Arm,
            },
            bits: match self.bit_order {
                Bits::Low => BitOrder::LowFirst,
                Bits::High => BitOrder::HighFirst,
            },
        }
    }
}

impl SourceArgs {
    /// What the file itself does not say.
    pub fn options(&self) -> OpenOptions {
        self.read.options()
    }

    /// Opens the model and warns about what was taken for granted. Where nothing says which ids end a text, the tokenizer is
    /// asked; what a model declares is converted as it is, without the names that serving adds.
    pub fn open(&self) -> Result<Loaded> {
        let mut model = checkpoint::open_with(&self.model, &self.options())?;
        let tokenizer = infer::tokenizer(&model)?;
        if model.end_ids.is_empty() {
            model.end_ids = tokenizer.map_or(Vec::new(), |tokenizer| tokenizer.end_ids());
            model.end_ids.sort_unstable();
        }
        for warning in &model.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(model)
    }
}

/// A bar on a terminal, nothing elsewhere.
pub struct Bar(ProgressBar);

impl Bar {
    /// Not shown before the first phase.
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}  {elapsed}");
        bar.set_style(style.expect("the template is well-formed"));
        Self(bar)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&mut self, phase: Phase, tensors: usize) {
        self.0.set_prefix(match phase {
            Phase::Write => "write  ",
            Phase::Compare => "compare",
        });
        self.0.set_length(tensors as u64);
        self.0.set_position(0);
    }

    fn advance(&mut self, name: &str) {
        self.0.inc(1);
        self.0.set_message(name.to_owned());
    }
}
