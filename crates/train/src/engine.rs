//! The small trait between the trainer and what computes, so that another engine can stand beside the CPU's.

use crate::clock::{self, Op};
use crate::config::{Optimizer, RunConfig};
use crate::frozen::Beginning;
use crate::loss::cross_entropy::Options;
use crate::optim::adam::{self, Adam, Update};
use crate::optim::muon::Muon;
use crate::optim::{clear, gradient_norm};
use crate::peers::Peers;
use crate::step::{Dimensions, MicroBatch, Network, slice_of};
use cluster::Group;
use model::{Adapter, LinearKind};

/// What trains a network: gradients of batches, updates of weights.
pub trait Engine {
    /// Makes ready for a step of `batches` micro-batches at this λ and forgets all gradients.
    fn begin(&mut self, lambda: f32, batches: usize);

    /// Sum of `−log p(target)` over the scored targets. Gradients of their summed loss times `factor` are added up, in which there
    /// may be more: z-loss, label smoothing, a teacher.
    fn forward_backward(&mut self, batch: MicroBatch, factor: f32) -> f64;

    /// `‖g‖₂` of the gradients added up since `begin`.
    fn gradient_norm(&mut self) -> f64;

    /// One optimiser step with the gradients added up since `begin`.
    fn update(&mut self, update: Update);

    /// Sum of `−log p(target)` over the scored targets, at the λ of `begin`.
    fn evaluate(&mut self, batch: MicroBatch) -> f64;

    /// Calls `visit(row, logits (V))` for every row of the batch, at the λ of `begin`.
    fn predict(&mut self, batch: MicroBatch, visit: &mut dyn FnMut(usize, &mut [f32]));
}

/// The engine of this machine's CPU.
pub struct Cpu {
    /// weights and everything that a step needs
    pub network: Network,
    /// both moments
    pub optimizer: Adam,
    /// what updates the matrices of the blocks instead, where there are no other ranks
    pub muon: Option<Muon>,
    /// the other ranks of the job, where there are any
    pub peers: Option<Peers>,
    /// λ of the shadows, `None` when the weights have changed since
    renewed: Option<f32>,
    partial: Vec<f64>,
}

impl Cpu {
    /// Reserves everything that steps of a run with micro-batches of `batch` sequences need.
    pub(crate) fn new(config: &RunConfig, batch: usize, beginning: Beginning, group: Option<Group>) -> Self {
        let train = &config.train;
        let dimensions = Dimensions {
            batch: slice_of(batch, train.sequence),
            sequence: train.sequence,
            blend: config.lambda.blends(),
            backward: train.backward.arithmetic(),
            keep: train.keep(),
        };
        let loss = Options { label_smoothing: train.label_smoothing as f32, z_loss: train.z_loss as f32 };
        let optimizer = adam::Options {
            beta1: train.beta1 as f32,
            beta2: train.beta2 as f32,
            epsilon: train.epsilon as f32,
            coupled: train.optimizer == Optimizer::Adam,
        };
        let threads = train.threads_used();
        let network = match beginning {
            Beginning::Learned(weights) => Network::new(weights, dimensions, loss, threads),
            Beginning::Frozen(base) => {
                let lora = config.lora.clone().unwrap_or_default();
                let adapter = Adapter::fresh(&config.model, lora.rank(), &lora.projections(), train.seed);
                Network::adapted(base, adapter, dimensions, loss, threads)
            }
        };
        let layout = &network.weights.layout;
        let peers = group.map(|group| Peers::new(group, layout));
        let is_muon = train.optimizer == Optimizer::Muon;
        let muon = is_muon.then(|| Muon::new(layout, dimensions.backward));
        let moments = peers.as_ref().map_or(network.gradients.len(), |peers| peers.shares.own_len());
        let optimizer = Adam::new(moments, optimizer);
        Self { network, optimizer, muon, peers, renewed: None, partial: Vec::new() }
    }

    /// Quantises the weights if they, or the arithmetic of the linear layers, have changed.
    pub fn renew(&mut self, lambda: f32) {
        if self.renewed != Some(lambda) {
            self.network.renew(lambda);
            self.renewed = Some(lambda);
        }
    }

    /// Whether this rank writes the run's files.
    pub fn is_root(&self) -> bool {
        self.peers.as_ref().is_none_or(|peers| peers.group.is_root())
    }

    /// Sums of these values over all ranks, the same bits at each.
    pub fn sum<const N: usize>(&mut self, values: [f64; N]) -> [f64; N] {
        match &mut self.peers {
            Some(peers) => peers.group.sum(values),
            None => values,
        }
    }

    /// Share of zero codes in each block; empty for a dense network.
    pub fn zero_shares(&self) -> Vec<f32> {
        let shares = self.network.shadows.iter().map(|block| {
            let zeros: usize = block.iter().map(|shadow| shadow.zeros()).sum();
            zeros as f32 / block.iter().map(|shadow| shadow.codes.len()).sum::<usize>() as f32
        });
        shares.filter(|_| self.is_ternary()).collect()
    }

    /// Mean γ of the matrices of each block; empty for a dense network.
    pub fn scales(&self) -> Vec<f32> {
        let scales = self
            .network
            .shadows
            .iter()
            .map(|block| block.iter().map(|shadow| shadow.gamma).sum::<f32>() / block.len() as f32);
        scales.filter(|_| self.is_ternary()).collect()
    }

    /// Share of the codes in each block that changed since the last call; empty for a dense network, and where they never do.
    pub fn flip_rates(&mut self) -> Vec<f32> {
        if self.network.adapter.is_some() {
            return Vec::new();
        }
        let ternary = self.is_ternary();
        let rates = self.network.shadows.iter_mut().map(|block| {
            let flips: usize = block.iter_mut().map(|shadow| shadow.flips()).sum();
            flips as f32 / block.iter().map(|shadow| shadow.codes.len()).sum::<usize>() as f32
        });
        rates.filter(|_| ternary).collect()
    }

    fn is_ternary(&self) -> bool {
        self.network.weights.config.linear == LinearKind::Ternary
    }
}

impl Engine for Cpu {
    fn begin(&mut self, lambda: f32, batches: usize) {
        self.renew(lambda);
        let Network { machine, gradients, .. } = &mut self.network;
        let _clock = clock::begin(Op::Optimiser, 0, size_of_val(&**gradients));
        clear(&machine.pool, gradients);
        if let Some(peers) = &mut self.peers {
            peers.begin(batches);
        }
    }

    fn forward_backward(&mut self, batch: MicroBatch, factor: f32) -> f64 {
        let mut peers = self.peers.as_mut().map(|peers| (peers.is_last_batch(), peers));
        self.network.forward_backward_watched(batch, factor, &mut |gradients, from| {
            if let Some((true, peers)) = &mut peers {
                peers.reduce(gradients, from);
            }
        });
        self.network.nats
    }

    fn gradient_norm(&mut self) -> f64 {
        let Network { machine, gradients, .. } = &mut self.network;
        let _clock = clock::begin(Op::Optimiser, 0, size_of_val(&**gradients));
        match &mut self.peers {
            Some(peers) => peers.gradient_norm(&machine.pool, gradients, &mut self.partial),
            None => gradient_norm(&machine.pool, gradients, &mut self.partial),
        }
    }

    fn update(&mut self, update: Update) {
        let Network { machine, weights, adapter, gradients, .. } = &mut self.network;
        let (pool, adam) = (&machine.pool, &mut self.optimizer);
        let macs = self.muon.as_ref().map_or(0, Muon::macs);
        let _clock = clock::begin(Op::Optimiser, macs, 7 * size_of_val(&**gradients));
        if let Some(adapter) = adapter {
            return adam.step(pool, adapter, gradients, update);
        }
        match (&mut self.peers, &mut self.muon) {
            (Some(peers), _) => peers.update(pool, adam, weights, gradients, update),
            (None, Some(muon)) => muon.step(pool, adam, weights, gradients, update),
            (None, None) => adam.step(pool, weights, gradients, update),
        }
        self.renewed = None;
    }

    fn evaluate(&mut self, batch: MicroBatch) -> f64 {
        self.network.evaluate(batch);
        self.network.nats
    }

    fn predict(&mut self, batch: MicroBatch, visit: &mut dyn FnMut(usize, &mut [f32])) {
        self.network.predict(batch, visit);
    }
}
