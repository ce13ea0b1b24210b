//! A run's whole condition to and from a native checkpoint.

use crate::TrainError;
use crate::engine::Cpu;
use crate::state::State;
use bytemuck::cast_slice;
use checkpoint::arena;
use checkpoint::native::{self, Opened, Parts, Tensor};
use formats::FileError;
use model::Projection;
use std::path::Path;

/// Prefixes of the two moments in the optimiser's file.
const MOMENTS: [&str; 2] = ["m.", "v."];

/// Writes weights, both moments, the recorded codes and the state to a new folder `dir`, as a unit.
pub fn save(
    dir: &Path,
    config: &str,
    tokenizer: &[u8],
    engine: &Cpu,
    state: &State,
) -> Result<(), TrainError> {
    let weights = &engine.network.weights;
    let mut optimizer = arena::tensors(&weights.layout, MOMENTS[0], &engine.optimizer.m);
    optimizer.extend(arena::tensors(&weights.layout, MOMENTS[1], &engine.optimizer.v));
    let parts = Parts {
        config,
        tokenizer: Some(tokenizer),
        weights: &arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &optimizer,
        recorded: &recorded(engine),
        state: &serde_json::to_value(state).expect("plain data becomes JSON"),
    };
    Ok(native::save(dir, &parts)?)
}

/// Reads what `save` wrote, besides the weights, back into an engine of the same network; returns the state.
pub fn restore(opened: &Opened, engine: &mut Cpu) -> Result<State, TrainError> {
    let state: State = serde_json::from_value(opened.state().clone())
        .map_err(|source| TrainError::State { path: opened.dir().to_path_buf(), source })?;
    let Cpu { network, optimizer, .. } = engine;
    let layout = &network.weights.layout;
    let file = opened.optimizer()?;
    arena::check(&file, layout, &MOMENTS)?;
    arena::read(&file, layout, MOMENTS[0], &mut optimizer.m)?;
    arena::read(&file, layout, MOMENTS[1], &mut optimizer.v)?;
    optimizer.steps = state.updates;
    let Some(file) = opened.recorded()? else { return Ok(state) };
    for (layer, shadows) in network.shadows.iter_mut().enumerate() {
        for (projection, shadow) in Projection::ALL.into_iter().zip(shadows) {
            let name = name(layer, projection);
            let codes = file.bytes(&name)?;
            if codes.len() != shadow.recorded.len() {
                let what =
                    format!("tensor '{name}' has {} elements, not {}", codes.len(), shadow.recorded.len());
                return Err(FileError::damaged(file.path(), what, "use the previous checkpoint").into());
            }
            shadow.recorded.copy_from_slice(cast_slice(codes));
        }
    }
    Ok(state)
}

fn name(layer: usize, projection: Projection) -> String {
    format!("layers.{layer}.{}", projection.name())
}

/// The codes of every quantised projection as the last record saw them; none for a dense network.
fn recorded(engine: &Cpu) -> Vec<Tensor<'_, i8>> {
    let config = &engine.network.weights.config;
    let mut tensors = Vec::new();
    for (layer, shadows) in engine.network.shadows.iter().enumerate() {
        for (projection, shadow) in Projection::ALL.into_iter().zip(shadows) {
            let (rows, cols) = projection.shape(config);
            tensors.push(Tensor {
                name: name(layer, projection),
                shape: vec![rows, cols],
                data: &shadow.recorded,
            });
        }
    }
    tensors.retain(|tensor| !tensor.data.is_empty());
    tensors
}
