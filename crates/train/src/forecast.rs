//! What a job of several nodes will take: a prediction from one node's speed and the network's, never a measurement.
//!
//! ```text
//! step    = compute + what of the reduction the backward does not hide + gather
//! compute = tokens of a step / nodes / tokens per second of a node
//! reduce  = gather = bytes·(N−1)/N / network + exchanges·(fixed + (N−1)·per peer)      bytes = 4·parameters
//! hidden  ≤ the backward's 2/3 of the last micro-batch, and all but the embedding and the first block, which come last
//! ```

use crate::config::{ConfigError, RunConfig};
use crate::peers::BUCKET;
use crate::plan::{Flops, Parameters, Rate, duration, grouped, scaled};
use model::Layout;
use serde::Serialize;
use std::fmt;

/// Seconds that one exchange costs however short it is: the pauses of a thread that does not burn a core while it waits.
const EXCHANGE_S: f64 = 0.3e-3;
/// Seconds that each peer adds to an exchange: a message out and one in.
const PEER_S: f64 = 10e-6;
/// The backward's share of a micro-batch: two of three products.
const BACKWARD: f64 = 2.0 / 3.0;

/// The machines of a job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Nodes {
    /// ranks, one a node
    pub nodes: usize,
    /// bytes per second into a node, and at the same time out of it
    pub network_bytes_per_s: f64,
    /// of one node alone, where it was measured
    pub tokens_per_s: Option<f64>,
}

/// The prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// ranks, one a node
    pub nodes: usize,
    /// numbers of the network
    pub parameters: u64,
    /// of one node alone
    pub node_tokens_per_s: f64,
    /// whether that was measured
    pub is_measured: bool,
    /// bytes that a node sends, and receives, for the gradients of a step; the weights take as many again
    pub bytes_each_way: u64,
    /// forward, backward and update of a node's part of a step
    pub compute_s: f64,
    /// the reduction of the gradients
    pub reduce_s: f64,
    /// what of that the backward does not hide
    pub reduce_exposed_s: f64,
    /// the new weights to every node
    pub gather_s: f64,
    /// all of a step
    pub step_s: f64,
    /// of all nodes together
    pub tokens_per_s: f64,
    /// speed against nodes × one node
    pub efficiency: f64,
    /// bytes of optimiser state of one node
    pub optimizer_bytes: u64,
    /// of the run
    pub tokens: u64,
    /// seconds of the run, without checkpoints and validation
    pub seconds: f64,
}

impl Forecast {
    /// Predicts a run of `tokens` tokens with this configuration's steps.
    ///
    /// # Errors
    /// A configuration that no run can have.
    pub fn new(config: &RunConfig, machines: Nodes, tokens: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let RunConfig { model, train, .. } = config;
        let Nodes { nodes, network_bytes_per_s, tokens_per_s } = machines;
        let assumed = Rate::assumed(train.threads).flops_per_s() / Flops::of(config).total() as f64;
        let node_tokens_per_s = tokens_per_s.unwrap_or(assumed);
        let layout = Layout::new(model);
        let step_tokens = train.tokens_per_step() as f64;
        let others = (nodes - 1) as f64;
        let transfer = |floats: usize| {
            let bytes = 4.0 * floats as f64 * others / nodes as f64;
            let exchanges = if nodes > 1 { floats.div_ceil(BUCKET) as f64 } else { 0.0 };
            bytes / network_bytes_per_s + exchanges * (EXCHANGE_S + others * PEER_S)
        };
        let compute_s = step_tokens / nodes as f64 / node_tokens_per_s;
        let reduce_s = transfer(layout.len());
        let late = layout.blocks.get(1).map_or(layout.len(), |block| block.start());
        let accumulation = match train.batch.is_multiple_of(nodes) {
            true => train.accumulation,
            false => train.accumulation.div_ceil(nodes),
        };
        let window = BACKWARD * compute_s / accumulation as f64;
        let reduce_exposed_s = reduce_s - (reduce_s - transfer(late)).clamp(0.0, window);
        let step_s = compute_s + reduce_exposed_s + reduce_s;
        Ok(Self {
            nodes,
            parameters: Parameters::new(model).total,
            node_tokens_per_s,
            is_measured: tokens_per_s.is_some(),
            bytes_each_way: (4.0 * layout.len() as f64 * others / nodes as f64) as u64,
            compute_s,
            reduce_s,
            reduce_exposed_s,
            gather_s: reduce_s,
            step_s,
            tokens_per_s: step_tokens / step_s,
            efficiency: compute_s / step_s,
            optimizer_bytes: (8 * layout.len() / nodes) as u64,
            tokens,
            seconds: tokens as f64 / step_tokens * step_s,
        })
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = if self.is_measured { "as given" } else { "assumed, not measured" };
        let ms = |seconds: f64| format!("{:.1} ms", 1e3 * seconds);
        writeln!(f, "A prediction, not a measurement; docs/cluster.md has its formulas.")?;
        writeln!(f, "{:<34}{:>16}", "nodes", self.nodes)?;
        writeln!(f, "{:<34}{:>16}", "parameters", grouped(self.parameters))?;
        writeln!(
            f,
            "{:<34}{:>16}  {source}",
            "one node, tokens/s",
            format!("{:.0}", self.node_tokens_per_s)
        )?;
        writeln!(
            f,
            "{:<34}{:>16}",
            "a step's bytes, out and in, twice",
            scaled(self.bytes_each_way as f64, "B")
        )?;
        writeln!(f, "{:<34}{:>16}", "optimiser state of a node", scaled(self.optimizer_bytes as f64, "B"))?;
        writeln!(f, "{:<34}{:>16}", "a step", ms(self.step_s))?;
        writeln!(f, "  {:<32}{:>16}", "compute", ms(self.compute_s))?;
        let hidden = ms(self.reduce_s - self.reduce_exposed_s);
        writeln!(f, "  {:<32}{:>16}  {hidden} more are hidden", "gradients", ms(self.reduce_exposed_s))?;
        writeln!(f, "  {:<32}{:>16}", "weights", ms(self.gather_s))?;
        let share = 100.0 * self.efficiency;
        let speed = format!("{:.0}", self.tokens_per_s);
        writeln!(f, "{:<34}{speed:>16}  {share:.1} % of {} single nodes", "tokens/s", self.nodes)?;
        writeln!(f, "{:<34}{:>16}", "tokens", grouped(self.tokens))?;
        writeln!(f, "{:<34}{:>16}", "time, about", duration(self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(nodes: usize, gb_per_s: f64) -> Forecast {
        let config = RunConfig::resolve(Some("2b4t"), None, &[]).unwrap();
        let machines = Nodes { nodes, network_bytes_per_s: gb_per_s * 1e9, tokens_per_s: Some(1000.0) };
        Forecast::new(&config, machines, 4_000_000_000_000).unwrap()
    }

    #[test]
    fn one_node_needs_no_network() {
        let one = forecast(1, 0.001);
        assert_eq!((one.reduce_s, one.gather_s, one.efficiency), (0.0, 0.0, 1.0));
        assert!((one.tokens_per_s - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn a_slow_network_and_many_nodes_cost_efficiency() {
        assert!(forecast(64, 1.0).efficiency < forecast(64, 12.5).efficiency);
        assert!(forecast(64, 12.5).efficiency < forecast(8, 12.5).efficiency);
        let many = forecast(64, 12.5);
        assert!(many.tokens_per_s > 1000.0 && many.tokens_per_s < 64_000.0);
        assert!(many.reduce_exposed_s < many.reduce_s);
        assert!((many.seconds - 4e12 / many.tokens_per_s).abs() / many.seconds < 1e-9);
    }
}
