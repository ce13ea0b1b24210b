//! A run's whole condition to and from a native checkpoint.

use crate::TrainError;
use crate::engine::Cpu;
use crate::heal::Speech;
use crate::peers::Peers;
use crate::records::Records;
use crate::state::State;
use crate::step::Network;
use bytemuck::cast_slice;
use checkpoint::arena;
use checkpoint::hf::peft;
use checkpoint::native::{self, Opened, Parts, Tensor};
use formats::FileError;
use formats::safetensors::{Dtype, TensorInfo, Writer};
use model::Projection;
use model::layout::Named;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

/// Prefixes of the two moments in the optimiser's file.
const MOMENTS: [&str; 2] = ["m.", "v."];

/// Writes what is learned (weights or an adapter), both moments, the recorded codes and the state to a new folder `dir`, as a
/// unit; an adapter also to the run's own folder. Where there are other ranks, each has to [`send`] meanwhile.
pub(crate) fn save(dir: &Path, records: &Records, engine: &mut Cpu, state: &State) -> Result<(), TrainError> {
    let Cpu { network, optimizer, peers, .. } = engine;
    let (weights, adapter) = (&network.weights, network.adapter.as_ref());
    let own_weights = match adapter {
        Some(_) => Vec::new(),
        None => arena::tensors(&weights.layout, "", &weights.data),
    };
    let Speech { chat_template, end_ids, bos } = &records.speech;
    let mut state = serde_json::to_value(state).expect("plain data becomes JSON");
    if records.speech != Speech::default() {
        state[native::END_IDS] = end_ids.as_slice().into();
        state[native::BOS] = bos.iter().copied().collect();
    }
    let parts = Parts {
        config: &records.config_text,
        tokenizer: Some(&records.tokenizer),
        chat_template: chat_template.as_deref(),
        weights: &own_weights,
        optimizer: &[],
        recorded: &recorded(network),
        state: &state,
    };
    let moments = [&optimizer.m[..], &optimizer.v];
    native::save_with(dir, &parts, |dir| {
        if let Some(adapter) = adapter {
            peft::write(dir, adapter, &weights.config, &records.base)?;
        }
        write_moments(&dir.join(native::OPTIMIZER), network.learned(), moments, peers)
    })?;
    let Some(adapter) = adapter else { return Ok(()) };
    let run = records.run.dir();
    if let Some(template) = chat_template {
        formats::atomic::write_bytes(&run.join(native::CHAT_TEMPLATE), template.as_bytes())?;
    }
    Ok(peft::write(run, adapter, &weights.config, &records.base)?)
}

/// What the other ranks do while rank 0 saves.
pub(crate) fn send(engine: &mut Cpu) {
    let Cpu { optimizer, peers: Some(peers), .. } = engine else { return };
    for own in [&optimizer.m, &optimizer.v] {
        peers.collect(own, |_, _| Ok::<(), Infallible>(())).unwrap_or_else(|never| match never {});
    }
}

fn write_moments(
    path: &Path,
    tensors: &[Named],
    moments: [&[f32]; 2],
    peers: &mut Option<Peers>,
) -> Result<(), FileError> {
    let info = |prefix: &str, named: &Named| TensorInfo {
        name: format!("{prefix}{}", named.name),
        dtype: Dtype::F32,
        shape: named.shape(),
    };
    let declared = MOMENTS.iter().flat_map(|prefix| tensors.iter().map(move |named| info(prefix, named)));
    let mut writer = Writer::create(path, &declared.collect::<Vec<_>>(), &BTreeMap::new())?;
    for (prefix, own) in MOMENTS.into_iter().zip(moments) {
        let mut write = |range: Range<usize>, values: &[f32]| {
            overlaps(tensors, range).try_for_each(|Overlap { named, part, .. }| {
                writer.write(&format!("{prefix}{}", named.name), cast_slice(&values[part]))
            })
        };
        match peers {
            Some(peers) => peers.collect(own, write)?,
            None => write(0..own.len(), own)?,
        }
    }
    writer.finish()
}

/// A tensor of which a range of the arena holds something.
struct Overlap<'a> {
    named: &'a Named,
    /// index in the tensor of the first element that the range holds
    first: usize,
    /// where in the range
    part: Range<usize>,
}

fn overlaps(tensors: &[Named], range: Range<usize>) -> impl Iterator<Item = Overlap<'_>> {
    tensors.iter().filter_map(move |named| {
        let start = named.slot.start;
        let (from, to) = (start.max(range.start), (start + named.slot.len()).min(range.end));
        (from < to).then(|| Overlap {
            named,
            first: from - start,
            part: from - range.start..to - range.start,
        })
    })
}

fn read_moments(
    opened: &Opened,
    tensors: &[Named],
    moments: [&mut [f32]; 2],
    peers: &mut Option<Peers>,
) -> Result<(), FileError> {
    let file = opened.optimizer()?;
    arena::check(&file, tensors, &MOMENTS)?;
    for (prefix, own) in MOMENTS.into_iter().zip(moments) {
        let read = |range: Range<usize>, values: &mut [f32]| {
            overlaps(tensors, range).try_for_each(|Overlap { named, first, part }| {
                file.f32_into(&format!("{prefix}{}", named.name), first, &mut values[part])
            })
        };
        match peers {
            Some(peers) => peers.distribute(own, read)?,
            None => read(0..own.len(), own)?,
        }
    }
    Ok(())
}

/// What the other ranks do while rank 0 restores.
pub(crate) fn receive(engine: &mut Cpu) {
    let Cpu { optimizer, peers: Some(peers), .. } = engine else { return };
    for own in [&mut optimizer.m, &mut optimizer.v] {
        peers.distribute(own, |_, _| Ok::<(), Infallible>(())).unwrap_or_else(|never| match never {});
    }
}

/// Reads what `save` wrote, besides weights, back into an engine of the same network; returns the state. Where there are other
/// ranks, each has to [`receive`] meanwhile.
pub(crate) fn restore(opened: &Opened, engine: &mut Cpu) -> Result<State, TrainError> {
    let state: State = serde_json::from_value(opened.state().clone())
        .map_err(|error| TrainError::State { path: opened.dir().to_path_buf(), error })?;
    let Cpu { network, optimizer, peers, .. } = engine;
    read_moments(opened, network.learned(), [&mut optimizer.m, &mut optimizer.v], peers)?;
    if let Some(adapter) = &mut network.adapter {
        let saved = peft::open(opened.dir(), &network.weights.config)?.adapter;
        if saved.rank != adapter.rank || saved.tensors() != adapter.tensors() {
            return Err(TrainError::OtherModel { checkpoint: opened.dir().to_path_buf() });
        }
        adapter.data = saved.data;
        return Ok(state);
    }
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

/// The codes of every quantised projection as the last record saw them; none for a dense network, or where they never change.
fn recorded(network: &Network) -> Vec<Tensor<'_, i8>> {
    let config = &network.weights.config;
    let mut tensors = Vec::new();
    for (layer, shadows) in network.shadows.iter().enumerate() {
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
