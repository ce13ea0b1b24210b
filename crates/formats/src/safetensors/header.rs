//! The header: parsed under limits, every claim checked against the length of the file.

use super::{Dtype, TensorInfo};
use crate::limits;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

/// Bytes of the header's length field.
pub(super) const LENGTH_BYTES: usize = 8;
pub(super) const METADATA: &str = "__metadata__";

/// A header that agrees with the length of its file.
pub(super) struct Header {
    /// In the order of their bytes.
    pub tensors: Vec<TensorInfo>,
    /// Of each tensor, counted from the start of the file.
    pub ranges: Vec<Range<usize>>,
    pub metadata: BTreeMap<String, String>,
}

/// Parses and checks the header at the start of `file`. The error says what is wrong, without the file's name.
pub(super) fn parse(file: &[u8]) -> Result<Header, String> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("it has {} bytes, too few for a safetensors file", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > limits::SAFETENSORS_HEADER_BYTES_MAX as u64 {
        return Err(format!(
            "its first 8 bytes claim a header of {length} bytes, so it is no safetensors file"
        ));
    }
    let length = length as usize;
    let Some((text, data)) = rest.split_at_checked(length) else {
        return Err(format!("it is cut inside its header: {} bytes of {length}", rest.len()));
    };
    let Parsed { tensors, metadata } =
        serde_json::from_slice(text).map_err(|e| format!("its safetensors header is damaged: {e}"))?;
    place(tensors, metadata, LENGTH_BYTES + length, data.len())
}

/// Orders the tensors by their bytes and checks that they tile the `data_bytes` after `data_start` exactly.
fn place(
    mut tensors: Vec<(TensorInfo, Offsets)>,
    metadata: BTreeMap<String, String>,
    data_start: usize,
    data_bytes: usize,
) -> Result<Header, String> {
    tensors.sort_by_key(|(_, Offsets(start, end))| (*start, *end));
    let mut next = 0;
    let mut ranges = Vec::with_capacity(tensors.len());
    for (tensor, Offsets(start, end)) in &tensors {
        let name = &tensor.name;
        let expected = bytes_of(tensor).ok_or_else(|| {
            format!("tensor '{name}' claims shape {:?}, more than any file can hold", tensor.shape)
        })?;
        if end.checked_sub(*start) != Some(expected) {
            return Err(format!(
                "tensor '{name}' of {} {:?} needs {expected} bytes, but its place is {start}..{end}",
                tensor.dtype, tensor.shape
            ));
        }
        if *start != next {
            let how = if *start < next { "overlaps the one before" } else { "leaves a gap before it" };
            return Err(format!("tensor '{name}' at byte {start} {how}"));
        }
        if *end > data_bytes {
            return Err(format!(
                "it is cut: tensor '{name}' ends at byte {end} of the data, and {data_bytes} are there"
            ));
        }
        next = *end;
        ranges.push(data_start + start..data_start + end);
    }
    if next != data_bytes {
        return Err(format!("its tensors end at byte {next} of the data, but {data_bytes} are there"));
    }
    let tensors = tensors.into_iter().map(|(tensor, _)| tensor).collect();
    Ok(Header { tensors, ranges, metadata })
}

/// Bytes of a tensor of that shape and type; `None` beyond the address space. A dimension of 0 does not hide an
/// overflow of the others: such a shape is hostile.
pub(super) fn bytes_of(tensor: &TensorInfo) -> Option<usize> {
    let elements = tensor.shape.iter().try_fold(1usize, |n, &dimension| n.checked_mul(dimension));
    elements?.checked_mul(tensor.dtype.bytes())
}

/// A tensor's first byte and the byte after its last, counted from the end of the header.
struct Offsets(usize, usize);

struct Parsed {
    tensors: Vec<(TensorInfo, Offsets)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut seen = HashSet::new();
        let mut parsed = Parsed { tensors: Vec::new(), metadata: BTreeMap::new() };
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > limits::TENSOR_NAME_BYTES_MAX {
                return Err(A::Error::custom(format!("a tensor name has {} bytes", name.len())));
            }
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("'{name}' is there twice")));
            }
            if name == METADATA {
                parsed.metadata = map.next_value::<Metadata>()?.0;
                continue;
            }
            if parsed.tensors.len() == limits::TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {} tensors", limits::TENSORS_MAX)));
            }
            let Described { dtype, shape, offsets } = map.next_value()?;
            parsed.tensors.push((TensorInfo { name, dtype, shape }, offsets));
        }
        Ok(parsed)
    }
}

/// The value of one tensor's entry. Unknown keys are ignored, as the reference implementation does.
struct Described {
    dtype: Dtype,
    shape: Vec<usize>,
    offsets: Offsets,
}

impl<'de> Deserialize<'de> for Described {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            dtype: String,
            shape: Shape,
            data_offsets: (u64, u64),
        }
        let raw = Raw::deserialize(deserializer)?;
        let dtype = Dtype::from_name(&raw.dtype)
            .ok_or_else(|| D::Error::custom(format!("the element type '{}' is not supported", raw.dtype)))?;
        let place = |offset: u64| usize::try_from(offset).map_err(D::Error::custom);
        Ok(Self {
            dtype,
            shape: raw.shape.0,
            offsets: Offsets(place(raw.data_offsets.0)?, place(raw.data_offsets.1)?),
        })
    }
}

/// Dimensions, at most [`limits::RANK_MAX`].
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} dimensions", limits::RANK_MAX)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = sequence.next_element()? {
                    if shape.len() == limits::RANK_MAX {
                        return Err(A::Error::invalid_length(shape.len() + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

/// `__metadata__`: text to text, under a limit.
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if metadata.len() == limits::METADATA_ENTRIES_MAX {
                        return Err(A::Error::custom("too many entries in __metadata__"));
                    }
                    metadata.insert(key, value);
                }
                Ok(Metadata(metadata))
            }

            fn visit_unit<E: Error>(self) -> Result<Metadata, E> {
                Ok(Metadata(BTreeMap::new()))
            }
        }
        deserializer.deserialize_any(MetadataVisitor)
    }
}
