//! The `.bin` files of llama2.c: f32 (its first version, without a magic number) and the ternary ones of bitllama2.c.
//!
//! ```text
//! first version          i32 × 7: dim, hidden, layers, heads, kv_heads, vocabulary (< 0: own head), sequence
//!                        f32: embedding (V, H), then for all layers together: attention norms (L, H), q, k, v, o,
//!                        ffn norms (L, H), gate, down, up, then final norm (H), two RoPE tables (sequence, D/2) that
//!                        nobody needs, head (V, H) unless it is the embedding
//!
//! ternary, version 1     u32 magic 0x616b3432, i32 1, i32 × 7 as above, u8 1 where the head is the embedding, zeros
//!                        to byte 256
//!                        f32: final norm (H), embedding (V, H), head (V, H) unless it is the embedding
//!                        then q, k, v, o, gate, down, up, of each for each layer: f32 scale, rows · columns / 4 bytes
//! ```
//!
//! A code is two bits, 01 = +1, 00 = 0, 11 = −1; 10 is illegal. Whether the first of four weights is in the low or the
//! high bits of a byte depends on the exporter. Both readings have the same codes at other places, so that the bytes do
//! not tell which is right and the caller has to: see [`BitOrder`].

#[cfg(test)]
mod tests;

use crate::error::{FileError, Kind as Trouble};
use crate::limits;
use crate::mapped::Mapped;
use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: u32 = 0x616b_3432;
/// Bytes before the first tensor of the ternary layout, and of the first version.
const START: usize = 256;
const START_FIRST: usize = 28;
const REMEDY: &str = "get the file again, or check that this is the file you meant";

/// Where the first of the four weights in a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BitOrder {
    /// In bits 0 and 1.
    #[default]
    LowFirst,
    /// In bits 6 and 7.
    HighFirst,
}

/// Which tensor of the model; those of a layer exist once per layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// (V, H).
    Embedding,
    /// (V, H); absent when it is the embedding.
    Head,
    /// (H).
    FinalNorm,
    /// (H), of a layer; absent in the ternary layout.
    AttentionNorm,
    /// (H), of a layer; absent in the ternary layout.
    FfnNorm,
    /// (N·D, H), of a layer.
    Q,
    /// (K·D, H), of a layer.
    K,
    /// (K·D, H), of a layer.
    V,
    /// (H, N·D), of a layer.
    O,
    /// (F, H), of a layer: `w1`.
    Gate,
    /// (H, F), of a layer: `w2`.
    Down,
    /// (F, H), of a layer: `w3`.
    Up,
}

/// The facts of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// H.
    pub hidden: usize,
    /// F.
    pub ffn: usize,
    /// L.
    pub layers: usize,
    /// N.
    pub heads: usize,
    /// K.
    pub kv_heads: usize,
    /// V.
    pub vocabulary: usize,
    /// Longest sequence in training.
    pub context: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether the layers' matrices are ternary.
    pub ternary: bool,
}

/// One tensor, or the same of every layer one after another.
#[derive(Debug)]
struct Part {
    kind: Kind,
    rows: usize,
    columns: usize,
    /// Of all layers, counted from the start of the file.
    bytes: Range<usize>,
    /// 1, or the number of layers.
    layers: usize,
    packed: bool,
}

/// An open file: header checked, tensors read from the map on demand.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    map: Mapped,
    header: Header,
    parts: Vec<Part>,
    order: BitOrder,
}

impl File {
    /// Maps `path` and checks that its header accounts for every byte. `order` matters to ternary files only.
    pub fn open(path: &Path, order: BitOrder) -> Result<Self, FileError> {
        let map = Mapped::open(path)?;
        let (header, parts) = parse(&map).map_err(|what| FileError::damaged(path, what, REMEDY))?;
        Ok(Self { path: path.to_owned(), map, header, parts, order })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The facts of the header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Rows and columns of a tensor (a norm has one row); `None` when the file has no such tensor.
    pub fn shape(&self, kind: Kind) -> Option<(usize, usize)> {
        self.parts.iter().find(|part| part.kind == kind).map(|part| (part.rows, part.columns))
    }

    /// The elements of an f32 tensor, row-major. `layer` is 0 for a tensor that exists once.
    pub fn f32(&self, kind: Kind, layer: usize) -> Result<Cow<'_, [f32]>, FileError> {
        let bytes = self.bytes(kind, layer, false)?;
        Ok(match bytemuck::try_cast_slice(bytes) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(
                bytes.as_chunks::<4>().0.iter().map(|&element| f32::from_le_bytes(element)).collect(),
            ),
        })
    }

    /// The scale of a ternary tensor: weight = scale · code. Finite and not negative.
    pub fn scale(&self, kind: Kind, layer: usize) -> Result<f32, FileError> {
        let bytes = self.bytes(kind, layer, true)?;
        let scale = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if !scale.is_finite() || scale < 0.0 {
            let what = format!("the scale of {kind:?} in layer {layer} is {scale}");
            return Err(FileError::damaged(&self.path, what, REMEDY));
        }
        Ok(scale)
    }

    /// The codes of a ternary tensor, row-major. An illegal code is an error.
    pub fn codes(&self, kind: Kind, layer: usize) -> Result<Vec<i8>, FileError> {
        let bytes = self.bytes(kind, layer, true)?;
        unpack(&bytes[4..], self.order).map_err(|at| {
            let what =
                format!("element {at} of {kind:?} in layer {layer} has the code 10, no ternary weight");
            FileError::damaged(&self.path, what, REMEDY)
        })
    }

    fn bytes(&self, kind: Kind, layer: usize, packed: bool) -> Result<&[u8], FileError> {
        let unfit = |what| {
            Err(FileError::new(&self.path, Trouble::Unfit, what, "check that this is the file you meant"))
        };
        let Some(part) = self.parts.iter().find(|part| part.kind == kind) else {
            return unfit(format!("it has no {kind:?}"));
        };
        if part.packed != packed {
            let held = if part.packed { "ternary codes" } else { "f32" };
            return unfit(format!("its {kind:?} holds {held}"));
        }
        if layer >= part.layers {
            return unfit(format!("it has {} × {kind:?}, and number {layer} is asked for", part.layers));
        }
        let each = part.bytes.len() / part.layers;
        let start = part.bytes.start + layer * each;
        Ok(&self.map[start..start + each])
    }
}

/// Four codes a byte; the error is the place of an illegal one.
fn unpack(bytes: &[u8], order: BitOrder) -> Result<Vec<i8>, usize> {
    const CODES: [i8; 4] = [0, 1, i8::MIN, -1];
    let shifts = match order {
        BitOrder::LowFirst => [0, 2, 4, 6],
        BitOrder::HighFirst => [6, 4, 2, 0],
    };
    let codes: Vec<i8> =
        bytes.iter().flat_map(|byte| shifts.map(|shift| CODES[(byte >> shift & 3) as usize])).collect();
    match codes.iter().position(|&code| code == i8::MIN) {
        Some(at) => Err(at),
        None => Ok(codes),
    }
}

/// The header at the start of `file` and the places of the tensors, which fill the file. The error says what is wrong.
fn parse(file: &[u8]) -> Result<(Header, Vec<Part>), String> {
    let number = |at: usize| -> Result<i32, String> {
        let bytes = file.get(at..at + 4).ok_or("it is cut inside its header")?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let ternary = number(0)? as u32 == MAGIC;
    let first = if ternary { 8 } else { 0 };
    if ternary && number(4)? != 1 {
        return Err(format!("it has version {}, and the ternary layout is version 1", number(4)?));
    }
    let mut numbers = [0usize; 7];
    for (i, found) in numbers.iter_mut().enumerate() {
        let claimed = number(first + 4 * i)?;
        let positive = if !ternary && i == 5 { claimed.saturating_abs() } else { claimed };
        if !(1..=limits::LLAMA2C_NUMBER_MAX).contains(&positive) {
            return Err(format!("number {i} of its header is {claimed}, so it is no llama2.c model"));
        }
        *found = positive as usize;
    }
    let tied = match ternary {
        true => *file.get(first + 28).ok_or("it is cut inside its header")? != 0,
        false => number(first + 20)? > 0,
    };
    let [hidden, ffn, layers, heads, kv_heads, vocabulary, context] = numbers;
    if !hidden.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) {
        return Err(format!(
            "its {hidden} dimensions, {heads} heads and {kv_heads} key-value heads do not divide"
        ));
    }
    let header = Header { hidden, ffn, layers, heads, kv_heads, vocabulary, context, tied, ternary };
    let parts = places(&header).ok_or("its header claims more than any file can hold")?;
    let end = parts.last().map_or(0, |part| part.bytes.end);
    let expected = match (ternary, tied) {
        // The RoPE tables come before a head of its own.
        (false, true) => {
            end + tables_bytes(&header).ok_or("its header claims more than any file can hold")?
        }
        _ => end,
    };
    if file.len() != expected {
        return Err(format!("its header asks for {expected} bytes, and the file has {}", file.len()));
    }
    Ok((header, parts))
}

/// Bytes of the two RoPE tables of the first version.
fn tables_bytes(header: &Header) -> Option<usize> {
    header.context.checked_mul(header.hidden / header.heads / 2)?.checked_mul(8)
}

/// Every tensor at its place; `None` beyond the address space.
fn places(header: &Header) -> Option<Vec<Part>> {
    let Header { hidden: h, ffn: f, layers, heads, kv_heads, vocabulary: v, tied, ternary, .. } = *header;
    let kv = h / heads * kv_heads;
    let matrices = [
        (Kind::Q, h, h),
        (Kind::K, kv, h),
        (Kind::V, kv, h),
        (Kind::O, h, h),
        (Kind::Gate, f, h),
        (Kind::Down, h, f),
        (Kind::Up, f, h),
    ];
    let mut list = Vec::new();
    if ternary {
        list.extend([(Kind::FinalNorm, 1, h, 1), (Kind::Embedding, v, h, 1)]);
        list.extend((!tied).then_some((Kind::Head, v, h, 1)));
        list.extend(matrices.map(|(kind, rows, columns)| (kind, rows, columns, layers)));
    } else {
        list.extend([(Kind::Embedding, v, h, 1), (Kind::AttentionNorm, 1, h, layers)]);
        list.extend(matrices[..4].iter().map(|&(kind, rows, columns)| (kind, rows, columns, layers)));
        list.push((Kind::FfnNorm, 1, h, layers));
        list.extend(matrices[4..].iter().map(|&(kind, rows, columns)| (kind, rows, columns, layers)));
        list.push((Kind::FinalNorm, 1, h, 1));
        list.extend((!tied).then_some((Kind::Head, v, h, 1)));
    }
    let mut next = if ternary { START } else { START_FIRST };
    let mut parts = Vec::with_capacity(list.len());
    for (kind, rows, columns, layers) in list {
        if kind == Kind::Head && !ternary {
            next = tables_bytes(header)?.checked_add(next)?;
        }
        let packed = ternary && matrices.iter().any(|(matrix, _, _)| *matrix == kind);
        let elements = rows.checked_mul(columns)?;
        let each = match packed {
            true => elements.is_multiple_of(4).then_some(elements / 4)?.checked_add(4)?,
            false => elements.checked_mul(4)?,
        };
        let end = each.checked_mul(layers)?.checked_add(next)?;
        parts.push(Part { kind, rows, columns, bytes: next..end, layers, packed });
        next = end;
    }
    Some(parts)
}
