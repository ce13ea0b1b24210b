//! A network read in another way: what a probe tries, and what a fix writes.

use checkpoint::OpenOptions;
use formats::FileError;
use formats::llama2c::BitOrder;
use formats::quant::I2sLayout;
use model::{Activation, Config, Encoding, LinearKind, RopeStyle, Source, quantize};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;

/// One way to read a network differently.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// the gate's activation
    Activation(Activation),
    /// stored scales are 1/γ
    InverseScales,
    /// how RoPE pairs the elements of a head
    RopeStyle(RopeStyle),
    /// how I2_S tensors lie; the file has to be opened again
    Layout(I2sLayout),
    /// where the first of four weights is in a byte of a llama2.c file; the file has to be opened again
    Bits(BitOrder),
    /// quantised weights, computed densely: activations in full precision
    WeightsOnly,
    /// latent weights, computed densely
    FullPrecision,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Activation(Activation::Relu2) => write!(f, "the gate ReLU²"),
            Self::Activation(Activation::Silu) => write!(f, "the gate SiLU"),
            Self::InverseScales => write!(f, "scales that are stored as 1/γ"),
            Self::RopeStyle(RopeStyle::RotateHalf) => write!(f, "RoPE pairs of halves"),
            Self::RopeStyle(RopeStyle::Interleaved) => write!(f, "RoPE pairs of neighbours"),
            Self::Layout(I2sLayout::X86) => write!(f, "I2_S tensors as x86 lays them"),
            Self::Layout(I2sLayout::Arm) => write!(f, "I2_S tensors as ARM lays them"),
            Self::Bits(BitOrder::LowFirst) => write!(f, "the first weight in a byte's low bits"),
            Self::Bits(BitOrder::HighFirst) => write!(f, "the first weight in a byte's high bits"),
            Self::WeightsOnly => write!(f, "activations in full precision"),
            Self::FullPrecision => write!(f, "latent weights in full precision"),
        }
    }
}

impl Change {
    /// How a file is to be opened with this change.
    pub(crate) fn reading(self, options: &OpenOptions) -> OpenOptions {
        let mut options = options.clone();
        match self {
            Self::Layout(layout) => options.i2s = layout,
            Self::Bits(order) => options.bits = order,
            _ => (),
        }
        options
    }
}

/// A view of another source.
pub struct Altered<S> {
    inner: S,
    config: Config,
    changes: Vec<Change>,
    /// γ of latent tensors, once each
    scales: Mutex<HashMap<String, f32>>,
}

impl<S: Borrow<dyn Source> + Send + Sync> Altered<S> {
    /// The network of `inner` with changes; a layout is no change of a view and is passed over.
    pub fn new(inner: S, changes: &[Change]) -> Self {
        let mut config = inner.borrow().config().clone();
        for change in changes {
            match change {
                Change::Activation(activation) => config.activation = *activation,
                Change::RopeStyle(style) => config.rope_style = *style,
                Change::WeightsOnly | Change::FullPrecision => config.linear = LinearKind::Dense,
                Change::InverseScales | Change::Layout(_) | Change::Bits(_) => (),
            }
        }
        Self { inner, config, changes: changes.to_vec(), scales: Mutex::default() }
    }

    fn has(&self, change: Change) -> bool {
        self.changes.contains(&change)
    }

    /// The factor between what is stored and what is meant: 1/scale² turns `scale · code` into `code / scale`.
    fn factor(&self, name: &str) -> Result<f32, FileError> {
        match self.inner.borrow().encoding(name)? {
            Encoding::Ternary { scale } if self.has(Change::InverseScales) && scale > 0.0 => {
                Ok(1.0 / (scale * scale))
            }
            _ => Ok(1.0),
        }
    }

    /// γ of a latent tensor.
    fn gamma(&self, name: &str) -> Result<f32, FileError> {
        if let Some(scale) = self.scales.lock().ok().and_then(|scales| scales.get(name).copied()) {
            return Ok(scale);
        }
        let layout = model::Layout::new(&self.config);
        let slot = layout.tensors().iter().find(|named| named.name == name).map(|named| named.slot);
        let slot = slot.unwrap_or_else(|| panic!("'{name}' is no tensor of the network"));
        let mut values = vec![0.0; slot.len()];
        self.inner.borrow().read(name, 0..slot.rows, &mut values)?;
        let scale = quantize::weight_scale(&values);
        if let Ok(mut scales) = self.scales.lock() {
            scales.insert(name.to_owned(), scale);
        }
        Ok(scale)
    }
}

fn is_projection(name: &str) -> bool {
    let inside = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    inside.is_some_and(|(_, name)| model::Projection::ALL.iter().any(|projection| projection.name() == name))
}

impl<S: Borrow<dyn Source> + Send + Sync> Source for Altered<S> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        if self.config.linear == LinearKind::Dense {
            return Ok(Encoding::Float);
        }
        let factor = self.factor(name)?;
        Ok(match self.inner.borrow().encoding(name)? {
            Encoding::Ternary { scale } => Encoding::Ternary { scale: scale * factor },
            Encoding::Float => Encoding::Float,
        })
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        self.inner.borrow().read(name, rows, out)?;
        let factor = self.factor(name)?;
        if factor != 1.0 {
            out.iter_mut().for_each(|value| *value *= factor);
        }
        let is_latent = self.inner.borrow().encoding(name)? == Encoding::Float;
        if self.has(Change::WeightsOnly) && is_latent && is_projection(name) {
            let gamma = self.gamma(name)?;
            let mut codes = vec![0; out.len()];
            quantize::ternarise(out, gamma, &mut codes);
            out.iter_mut().zip(codes).for_each(|(value, code)| *value = gamma * f32::from(code));
        }
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        self.inner.borrow().read_codes(name, rows, out)
    }

    fn release(&self, name: &str) {
        self.inner.borrow().release(name);
    }
}
