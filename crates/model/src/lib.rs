//! The network as data: configuration, presets, tensor layout, weights, **the** b1.58 definition
//! (`quantize`) and a slow reference forward that everything fast is held against.
#![forbid(unsafe_code)]

pub mod adapter;
pub mod config;
pub mod layout;
pub mod presets;
pub mod quantize;
pub mod random;
pub mod reference;
pub mod rope;
pub mod rotation;
pub mod source;
pub mod weights;

pub use adapter::Adapter;
pub use config::{Activation, Config, ConfigError, LinearKind, NormPlacement, RopeScaling, RopeStyle};
pub use layout::{Extra, Layout, Norm, Projection, Slot};
pub use random::Random;
pub use rotation::Rotation;
pub use source::{Blocks, Encoding, Source};
pub use weights::{Arena, Weights};
