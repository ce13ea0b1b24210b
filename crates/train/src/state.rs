//! Where a run stands besides its weights: everything that the next step depends on.

use crate::guard::Guard;
use data::Cursor;
use serde::{Deserialize, Serialize};

/// Written to `state.json` of every checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// steps done
    pub step: u64,
    /// optimiser steps done: steps less those that the guard refused
    pub updates: u64,
    /// tokens seen
    pub tokens: u64,
    /// λ of the last step done, 0 before the first of a schedule from full precision
    pub lambda: f64,
    /// place in the data
    pub cursor: Cursor,
    /// the guard's memory
    pub guard: Guard,
    /// the lowest validation loss so far
    pub best: Option<Best>,
    /// (L): when each layer is quantised, where not all are together
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<usize>,
}

/// The checkpoint with the lowest validation loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// steps done
    pub step: u64,
    /// nats per token
    pub loss: f64,
}
