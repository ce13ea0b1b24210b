//! A network beside which an adapter is learned: it does not change, so a ternary one needs no latent weights.

use crate::TrainError;
use crate::heal;
use crate::shadow::Shadow;
use checkpoint::{Loaded, ternary};
use kernels::memory;
use kernels::pool::Pool;
use model::{Layout, LinearKind, Weights};

/// The network; see [`Frozen::read`].
pub struct Frozen {
    /// all weights of a dense network, those of a ternary one without its projections
    pub weights: Weights,
    /// codes and scales of a ternary network's projections, block by block
    pub shadows: Vec<[Shadow; 7]>,
}

impl Frozen {
    /// Reads `model` as it is served at λ = 1, one matrix at a time.
    ///
    /// # Errors
    /// A tensor cannot be read, or holds a value that is not finite.
    pub fn read(model: &Loaded, threads: usize) -> Result<Self, TrainError> {
        let config = model.config();
        if config.linear == LinearKind::Dense {
            let shadows = (0..config.layers).map(|_| Default::default()).collect();
            return Ok(Self { weights: heal::read(model, config)?, shadows });
        }
        let layout = Layout::without_projections(config);
        let mut weights = Weights { config: config.clone(), data: memory::zeros(layout.len()), layout };
        for named in weights.layout.tensors() {
            heal::read_tensor(model, named, named.slot.of_mut(&mut weights.data))?;
        }
        let pool = Pool::new(threads);
        let mut projections = Vec::new();
        for named in Layout::new(config).tensors().iter().filter(|named| named.is_projection()) {
            let ternary::Ternary { codes, scale, .. } = ternary::read(&*model.source, named)?;
            model.source.release(&named.name);
            projections.push(Shadow::fixed(&pool, codes, scale, (named.slot.rows, named.slot.cols)));
        }
        // In a block they come in the order of `Projection::ALL`.
        let mut projections = projections.into_iter();
        let mut next = || projections.next().expect("every layer has seven projections");
        let shadows = (0..config.layers).map(|_| [(); 7].map(|()| next())).collect();
        Ok(Self { weights, shadows })
    }
}

/// What a run begins with.
pub(crate) enum Beginning {
    /// weights that are learned
    Learned(Weights),
    /// weights that stay, and an adapter that is learned beside them
    Frozen(Frozen),
}
