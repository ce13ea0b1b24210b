//! What a run will take, before it starts: parameters, arithmetic, memory, disk and time.

use crate::arena::{Extent, activation_bytes, buffer_floats};
use crate::config::{ConfigError, RunConfig};
use crate::course::Course;
use crate::loss::cross_entropy::chunk_rows;
use crate::step::{Keep, slice_of};
use kernels::ternary::packed_len;
use model::{Config, Layout, LinearKind, Projection};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// FLOP/s of one thread over a whole step that is assumed where none was measured: fp32 matrix products
/// of AVX-512 at half their peak, which the rest of the step costs.
const ASSUMED_FLOPS_PER_THREAD: f64 = 50e9;
/// Bytes of one f32.
const F32: u64 = size_of::<f32>() as u64;

/// Where an estimate of time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rate {
    /// FLOP/s seen on this machine
    Measured(f64),
    /// FLOP/s taken for granted
    Assumed(f64),
}

impl Rate {
    /// What `threads` threads are assumed to do; 0 for all of the machine.
    pub fn assumed(threads: usize) -> Self {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        Self::Assumed(threads as f64 * ASSUMED_FLOPS_PER_THREAD)
    }

    pub(crate) fn flops_per_s(self) -> f64 {
        match self {
            Self::Measured(rate) | Self::Assumed(rate) => rate,
        }
    }
}

/// Numbers of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// all; a tied head counts once
    pub total: u64,
    /// V·H
    pub embedding: u64,
    /// V·H, 0 where tied
    pub head: u64,
    /// the seven projections of every block
    pub projections: u64,
    /// gains
    pub norms: u64,
}

impl Parameters {
    /// Counts the network of `config`.
    pub fn new(config: &Config) -> Self {
        let layout = Layout::new(config);
        let embedding = layout.embedding.len() as u64;
        let matrices = layout.tensors().iter().filter(|tensor| tensor.is_matrix);
        let matrices: u64 = matrices.map(|tensor| tensor.slot.len() as u64).sum();
        let head = if config.tied { 0 } else { embedding };
        let total = layout.len() as u64;
        Self { total, embedding, head, projections: matrices - embedding - head, norms: total - matrices }
    }
}

/// FLOP of one trained token, a multiply-add counted as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// projections, forward
    pub forward: u64,
    /// projections, backward: gradients of inputs and of weights
    pub backward: u64,
    /// output head, forward and backward
    pub head: u64,
    /// scores and mixtures, forward and backward
    pub attention: u64,
    /// the blocks' forward once more, where their activations are not kept
    pub recomputed: u64,
    /// forward of a model that is learned from
    pub teacher: u64,
}

impl Flops {
    /// Counts a token of a sequence of `sequence` tokens without document borders.
    pub fn new(config: &Config, sequence: usize) -> Self {
        let forward = 2 * Parameters::new(config).projections;
        // two products (S/2 keys on average) forward; the backward makes the scores again and adds four
        let product = 2 * (config.query_width() * config.layers) as u64 * sequence as u64 / 2;
        Self {
            forward,
            backward: 2 * forward,
            head: 6 * (config.hidden * config.vocabulary) as u64,
            attention: 7 * product,
            recomputed: 0,
            teacher: 0,
        }
    }

    /// A forward alone: a third of the head's products, and two of attention's seven.
    fn reading(&self) -> u64 {
        self.forward + self.head / 3 + self.attention / 7 * 2
    }

    /// Where weights have no gradients, and those of an adapter of `adapter` parameters beside them have.
    fn beside(self, adapter: u64) -> Self {
        Self {
            forward: self.forward + 2 * adapter,
            backward: self.forward + 4 * adapter,
            head: self.head / 3 * 2,
            ..self
        }
    }

    /// Counts a token of a run, whose last block is never computed twice.
    pub fn of(config: &RunConfig) -> Self {
        let RunConfig { model, train, .. } = config;
        let all = Self::new(model, train.sequence);
        let all = adapter_parameters(config).map_or(all, |adapter| all.beside(adapter));
        let (layers, again) = (model.layers as u64, model.layers.saturating_sub(1) as u64);
        let recomputed = (all.forward + all.attention / 7 * 2) / layers.max(1) * again;
        Self { recomputed: if train.recompute { recomputed } else { 0 }, ..all }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.forward + self.backward + self.head + self.attention + self.recomputed + self.teacher
    }
}

/// Bytes of memory of a run, a field a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// f32; beside an adapter without ternary projections, of which codes are enough
    pub latent_weights: u64,
    /// f32
    pub gradients: u64,
    /// m and v, f32
    pub optimizer: u64,
    /// what is learned beside weights that do not change, f32
    pub adapter: u64,
    /// int8 codes of now, and of the last record where they change
    pub ternary_codes: u64,
    /// the codes again, as the kernels read them
    pub ternary_packed: u64,
    /// the head twice, as the products of the logits and of their gradients read it
    pub head_packed: u64,
    /// w_λ in f32, where any step has λ < 1
    pub blended_weights: u64,
    /// what blocks keep for the backward, or read anew to compute it again
    pub activations: u64,
    /// buffers that blocks share
    pub buffers: u64,
    /// the logits that exist at a time, f32
    pub logits: u64,
    /// all of a model that is learned from; with a cache, where that does not know its answers
    pub teacher: u64,
}

impl Memory {
    /// Plans the run of `config`.
    pub fn new(config: &RunConfig) -> Self {
        let RunConfig { model, train, .. } = config;
        let parameters = Parameters::new(model);
        let ternary = match model.linear {
            LinearKind::Ternary => parameters.projections,
            LinearKind::Dense => 0,
        };
        let extent = Extent {
            rows: slice_of(train.batch, train.sequence) * train.sequence,
            blend: config.lambda.blends(),
            rank: config.lora.as_ref().map_or(0, |lora| lora.rank),
        };
        let adapter = adapter_parameters(config);
        let learned = adapter.unwrap_or(parameters.total);
        let codes = if adapter.is_some() { ternary } else { 2 * ternary };
        let logits = F32 * (chunk_rows(extent.rows, model.vocabulary) * model.vocabulary) as u64;
        Self {
            latent_weights: F32 * (parameters.total - if adapter.is_some() { ternary } else { 0 }),
            gradients: F32 * learned,
            optimizer: 2 * F32 * learned,
            adapter: F32 * adapter.unwrap_or(0),
            ternary_codes: codes,
            ternary_packed: if ternary > 0 { packed_bytes(model) } else { 0 },
            head_packed: 2 * (model.vocabulary * model.hidden) as u64 * train.backward.arithmetic().bytes(),
            blended_weights: if extent.blend { F32 * ternary } else { 0 },
            activations: activation_bytes(model, extent, train.keep()) as u64,
            buffers: F32 * buffer_floats(model, extent.rows) as u64 - logits,
            logits,
            teacher: 0,
        }
    }

    /// Of a network that only reads what the run of `config` does.
    fn reading(config: &RunConfig, model: &Config) -> u64 {
        let train = &config.train;
        let rows = slice_of(train.batch, train.sequence) * train.sequence;
        let extent = Extent { rows, blend: false, rank: 0 };
        let parameters = Parameters::new(model);
        let ternary = match model.linear {
            LinearKind::Ternary => parameters.projections + packed_bytes(model),
            LinearKind::Dense => 0,
        };
        let head = (model.vocabulary * model.hidden) as u64 * train.backward.arithmetic().bytes();
        let activations = activation_bytes(model, extent, Keep::Nothing) as u64;
        F32 * (parameters.total + buffer_floats(model, rows) as u64) + ternary + head + activations
    }

    fn kinds(&self) -> [(&'static str, u64); 12] {
        [
            ("latent weights, f32", self.latent_weights),
            ("gradients, f32", self.gradients),
            ("optimiser m + v, f32", self.optimizer),
            ("adapter, f32", self.adapter),
            ("ternary codes, int8", self.ternary_codes),
            ("ternary packed", self.ternary_packed),
            ("head packed, both ways", self.head_packed),
            ("blended weights, f32", self.blended_weights),
            ("activations kept", self.activations),
            ("shared buffers", self.buffers),
            ("logits, one chunk", self.logits),
            ("teacher", self.teacher),
        ]
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.kinds().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Numbers of the adapter that a run learns, if it does.
fn adapter_parameters(config: &RunConfig) -> Option<u64> {
    let lora = config.lora.as_ref()?;
    let sides = lora.projections().into_iter().map(|projection| {
        let (out, input) = projection.shape(&config.model);
        (out + input) as u64
    });
    Some(config.model.layers as u64 * lora.rank as u64 * sides.sum::<u64>())
}

/// Bytes of all projections `(out, in)` in the kernels' layout.
fn packed_bytes(config: &Config) -> u64 {
    let block = Projection::ALL.iter().map(|projection| {
        let (rows, cols) = projection.shape(config);
        packed_len(rows, cols) as u64
    });
    config.layers as u64 * block.sum::<u64>()
}

/// Steps after which a checkpoint is written: the schedule's boundaries and every `checkpoint_every`.
fn checkpoint_count(boundaries: &[u64], every: u64, steps: u64) -> u64 {
    if every == 0 {
        return boundaries.len() as u64;
    }
    let odd: BTreeSet<u64> =
        boundaries.iter().copied().filter(|step| step % every != 0 || *step == 0).collect();
    odd.len() as u64 + steps / every
}

/// Everything that `--dry-run` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// numbers of parameters
    pub parameters: Parameters,
    /// whether the head is the embedding
    pub tied: bool,
    /// arithmetic of a trained token
    pub flops_per_token: Flops,
    /// bytes by kind
    pub memory: Memory,
    /// bytes of all kinds
    pub memory_total: u64,
    /// bytes of this machine's RAM, where it tells
    pub machine_total: Option<u64>,
    /// bytes of it that are free for new programs
    pub machine_available: Option<u64>,
    /// updates
    pub steps: u64,
    /// of one update
    pub tokens_per_step: u64,
    /// of the run
    pub tokens: u64,
    /// checkpoints written over the run
    pub checkpoints: u64,
    /// of which at most so many stay: those at boundaries, the last ones and the best
    pub checkpoints_kept: u64,
    /// bytes of one: what is learned, m and v
    pub checkpoint_bytes: u64,
    /// what the time is estimated from
    pub rate: Rate,
    /// seconds of the run, without validation
    pub seconds: f64,
    /// what the schedule will do
    pub course: Course,
    /// what is allowed but known to harm
    pub warnings: Vec<String>,
}

impl Plan {
    /// Plans the run of `config` on this machine.
    pub fn new(config: &RunConfig, rate: Rate) -> Result<Self, ConfigError> {
        config.validate()?;
        let RunConfig { model, train, .. } = config;
        let parameters = Parameters::new(model);
        let adapter = adapter_parameters(config);
        let flops_per_token = Flops::of(config);
        let memory = Memory::new(config);
        // The codes as they were last recorded, a byte each.
        let recorded = match (model.linear, adapter) {
            (LinearKind::Ternary, None) => parameters.projections,
            _ => 0,
        };
        let steps = train.last();
        let tokens = steps * train.tokens_per_step();
        let boundaries = config.schedule()?.boundaries_until(steps);
        let checkpoints = checkpoint_count(&boundaries, train.checkpoint_every, steps);
        let information = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Ok(Self {
            parameters,
            tied: model.tied,
            flops_per_token,
            memory,
            memory_total: memory.total(),
            machine_total: memory_line(&information, "MemTotal:"),
            machine_available: memory_line(&information, "MemAvailable:"),
            steps,
            tokens_per_step: train.tokens_per_step(),
            tokens,
            checkpoints,
            checkpoints_kept: checkpoints.min((boundaries.len() + train.keep_last + 1) as u64),
            checkpoint_bytes: 3 * F32 * adapter.unwrap_or(parameters.total) + recorded,
            rate,
            seconds: tokens as f64 * flops_per_token.total() as f64 / rate.flops_per_s(),
            course: Course::of(config)?,
            warnings: config.warnings(),
        })
    }

    /// The same with a `teacher` that reads all that the run of `config` does.
    pub fn with_teacher(mut self, config: &RunConfig, teacher: &Config) -> Self {
        self.memory.teacher = Memory::reading(config, teacher);
        self.memory_total = self.memory.total();
        self.flops_per_token.teacher = Flops::new(teacher, config.train.sequence).reading();
        self.seconds = self.tokens as f64 * self.flops_per_token.total() as f64 / self.rate.flops_per_s();
        self
    }
}

/// Bytes of this machine's RAM that are free for new programs, where it tells.
pub(crate) fn available_memory() -> Option<u64> {
    memory_line(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes on the line of /proc/meminfo that begins with `key` and gives kB.
fn memory_line(information: &str, key: &str) -> Option<u64> {
    let line = information.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_parameters(f)?;
        self.write_flops(f)?;
        self.write_memory(f)?;
        self.write_run(f)?;
        writeln!(f, "\n{}", self.course)
    }
}

impl Plan {
    fn write_parameters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { total, embedding, head, projections, norms } = self.parameters;
        writeln!(f, "{:<28}{:>16}", "parameters", grouped(total))?;
        let kinds =
            [("embedding", embedding), ("head", head), ("projections", projections), ("norms", norms)];
        for (kind, count) in kinds {
            let share = 100.0 * count as f64 / total as f64;
            let note = if kind == "head" && self.tied { "  tied: the embedding again" } else { "" };
            writeln!(f, "  {kind:<26}{:>16}{share:>7.1} %{note}", grouped(count))?;
        }
        Ok(())
    }

    fn write_flops(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flops = self.flops_per_token;
        writeln!(f, "{:<28}{:>16}", "FLOP per token", scaled(flops.total() as f64, "FLOP"))?;
        let kinds = [
            ("projections forward", flops.forward),
            ("projections backward", flops.backward),
            ("head, both ways", flops.head),
            ("attention, both ways", flops.attention),
            ("blocks computed again", flops.recomputed),
            ("teacher, forward", flops.teacher),
        ];
        for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {kind:<26}{:>16}", scaled(count as f64, "FLOP"))?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}{:>16}", "memory", scaled(self.memory_total as f64, "B"))?;
        for (kind, bytes) in self.memory.kinds().into_iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(f, "  {kind:<26}{:>16}", scaled(bytes as f64, "B"))?;
        }
        let (Some(total), Some(available)) = (self.machine_total, self.machine_available) else {
            return writeln!(f, "  {:<26}{:>16}", "of this machine", "unknown");
        };
        let verdict = match self.memory_total {
            needed if needed > total => "does not fit this machine",
            needed if needed > available => "does not fit beside what is running now",
            _ => "fits",
        };
        writeln!(f, "  {:<26}{:>16}  {verdict}", "of this machine", scaled(total as f64, "B"))?;
        writeln!(f, "  {:<26}{:>16}", "of which available", scaled(available as f64, "B"))
    }

    fn write_run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |count: u64| scaled(count as f64 * self.checkpoint_bytes as f64, "B");
        writeln!(f, "{:<28}{:>16}", "steps", grouped(self.steps))?;
        writeln!(f, "{:<28}{:>16}", "tokens a step", grouped(self.tokens_per_step))?;
        writeln!(f, "{:<28}{:>16}", "tokens", grouped(self.tokens))?;
        writeln!(f, "{:<28}{:>16}  {} each", "checkpoints written", self.checkpoints, size(1))?;
        let kept = self.checkpoints_kept;
        writeln!(f, "{:<28}{kept:>16}  {} on disk", "of which kept, at most", size(kept))?;
        let (source, rate) = match self.rate {
            Rate::Measured(rate) => ("measured", rate),
            Rate::Assumed(rate) => ("assumed, not measured", rate),
        };
        let rate = scaled(rate, "FLOP/s");
        writeln!(f, "{:<28}{:>16}  at {rate} ({source})", "time, about", duration(self.seconds))
    }
}

/// A whole number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Four digits and a decimal prefix.
pub(crate) fn scaled(number: f64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let power = if number < 1.0 { 0 } else { (number.log10() / 3.0) as usize };
    let power = power.min(prefixes.len() - 1);
    let digits = if power == 0 { 0 } else { 2 };
    format!("{:.digits$} {}{unit}", number / 1000f64.powi(power as i32), prefixes[power])
}

/// In the largest two units.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s if s < 63_115_200.0 => format!("{:.1} days", s / 86_400.0),
        s => format!("{} years", grouped((s / 31_557_600.0) as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(preset: &str, sets: &[&str]) -> Plan {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let config = RunConfig::resolve(Some(preset), None, &sets).unwrap();
        Plan::new(&config, Rate::Assumed(100e9)).unwrap()
    }

    #[test]
    fn the_2b4t_plan_prints_the_published_number_of_parameters() {
        let plan = plan("2b4t", &[]);
        assert_eq!(plan.parameters.total, 2_412_820_480);
        assert_eq!(plan.parameters.embedding, 328_335_360);
        assert_eq!(plan.parameters.projections, 2_084_044_800);
        assert_eq!(plan.parameters.head, 0);
        let text = plan.to_string();
        assert!(text.contains("2,412,820,480") && text.contains("tied"), "{text}");
        assert_eq!(plan.memory.latent_weights, 9_651_281_920);
        assert!(plan.memory.ternary_packed >= 2_084_044_800 / 4);
    }

    /// MFLOP a token of the benchmark's shape S, which books10m has.
    #[test]
    fn flops_are_those_of_the_benchmarks_shape() {
        let plan = plan("books10m", &[]);
        let flops = plan.flops_per_token;
        let mega = [flops.forward, flops.backward, flops.head, flops.attention]
            .map(|f| (f as f64 / 1e5).round() / 10.0);
        assert_eq!(mega, [10.2, 20.4, 12.6, 2.8]);
        assert_eq!(plan.seconds, plan.tokens as f64 * flops.total() as f64 / 100e9);
    }

    #[test]
    fn blends_and_dense_layers_change_the_memory_they_should() {
        let base = plan("books10m", &[]).memory;
        assert_eq!(base.blended_weights, 0);
        let blended = plan("books10m", &["lambda.kind=linear"]).memory;
        assert_eq!(blended.blended_weights, 4 * 5_111_808);
        assert!(blended.activations > base.activations);
        let dense = plan("books10m", &["model.linear=dense"]).memory;
        assert_eq!((dense.ternary_codes, dense.ternary_packed), (0, 0));
        let all: u64 = base.kinds().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(base.total(), all);
    }

    #[test]
    fn the_packed_head_is_counted() {
        let [codes, floats] = [&[][..], &["train.backward=f32"]].map(|sets| plan("books10m", sets).memory);
        assert_eq!((codes.head_packed, floats.head_packed), (4 * 8192 * 256, 8 * 8192 * 256));
    }

    #[test]
    fn recomputing_saves_activations_and_costs_a_forward() {
        let [kept, again] = [&[][..], &["train.recompute=true"]].map(|sets| plan("125m", sets));
        let layers = 12;
        assert!(again.memory.activations < 2 * kept.memory.activations / layers, "{:?}", again.memory);
        assert_eq!(kept.flops_per_token.recomputed, 0);
        let flops = again.flops_per_token;
        assert!(
            flops.recomputed > flops.forward * (layers - 1) / layers && flops.recomputed < flops.backward
        );
        assert!(again.seconds > kept.seconds && again.to_string().contains("blocks computed again"));
    }

    #[test]
    fn checkpoints_are_counted_once() {
        let boundaries = [0, 250, 500, 750, 1000];
        assert_eq!(checkpoint_count(&boundaries, 0, 1000), 5);
        assert_eq!(checkpoint_count(&boundaries, 250, 1000), 5);
        assert_eq!(checkpoint_count(&boundaries, 300, 1000), 8);
        let kept = plan("books10m", &["train.keep_last=2"]);
        assert_eq!((kept.checkpoints, kept.checkpoints_kept), (9, 8));
    }

    #[test]
    fn a_run_that_stops_early_is_counted_to_its_end() {
        let [all, early] = [&[][..], &["train.stop_after=100"]].map(|sets| plan("books10m", sets));
        assert_eq!((early.steps, early.tokens), (100, 100 * early.tokens_per_step));
        assert!((early.seconds / all.seconds - 100.0 / all.steps as f64).abs() < 1e-9);
        assert_eq!(early.checkpoints, 2, "the first and the last");
    }

    #[test]
    fn a_teacher_costs_memory_and_a_forward() {
        let config = RunConfig::resolve(Some("tiny"), None, &[]).unwrap();
        let alone = plan("tiny", &[]);
        let teacher = model::presets::model("125m").unwrap();
        let plan = alone.clone().with_teacher(&config, &teacher);
        let weights = 4 * teacher.parameters() as u64;
        assert!(plan.memory.teacher > weights && plan.memory.teacher < 2 * weights, "{:?}", plan.memory);
        assert_eq!(plan.memory_total, alone.memory_total + plan.memory.teacher);
        assert!(plan.seconds > 10.0 * alone.seconds);
        let lines = plan.to_string();
        assert_eq!(lines.matches("  teacher").count(), 2, "{lines}");
        assert!(!alone.to_string().contains("teacher"));
    }

    #[test]
    fn numbers_are_printed_for_people() {
        assert_eq!([0, 999, 1000, 2_412_820_480].map(grouped), ["0", "999", "1,000", "2,412,820,480"]);
        assert_eq!(scaled(0.0, "B"), "0 B");
        assert_eq!(scaled(9_651_281_920.0, "B"), "9.65 GB");
        assert_eq!(duration(90.0), "90 s");
        assert_eq!(duration(3600.0), "60 min");
        assert_eq!(memory_line("MemTotal:       24684484 kB\n", "MemTotal:"), Some(25_276_911_616));
        assert_eq!(memory_line("MemTotal: lots\n", "MemTotal:"), None);
    }

    #[test]
    fn every_preset_has_a_plan() {
        for name in model::presets::names() {
            let text = plan(name, &[]).to_string();
            assert!(text.contains("assumed"), "{text}");
        }
    }
}
