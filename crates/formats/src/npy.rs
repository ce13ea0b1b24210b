//! NumPy's `.npy`, version 1.0, for arrays that other programs look at. Format: numpy.lib.format.

use crate::atomic;
use crate::error::FileError;
use std::path::Path;

/// Writes `data` (row-major, little-endian f32) of `shape` as a `.npy` file, atomically.
///
/// # Panics
/// When the product of `shape` is not the length of `data`.
pub fn write_f32(path: &Path, shape: &[usize], data: &[f32]) -> Result<(), FileError> {
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    assert_eq!(elements, Some(data.len()), "shape {shape:?} against {} values", data.len());
    atomic::write(path, |out| {
        out.write_all(&header(shape))?;
        out.write_all(bytemuck::cast_slice(data))
    })
}

/// Magic, version, header length and the description, padded with spaces so that the data starts at a multiple of 64.
fn header(shape: &[usize]) -> Vec<u8> {
    const PREFIX_BYTES: usize = 10;
    let dimensions: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dimensions = match shape.len() {
        1 => dimensions.trim_end(),
        _ => dimensions.trim_end_matches(", "),
    };
    let description = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dimensions}), }}");
    let length = (PREFIX_BYTES + description.len() + 1).next_multiple_of(64) - PREFIX_BYTES;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(format!("{description:<width$}\n", width = length - 1).bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_numpys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_f32(&path, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&bytes[10..128]).unwrap();
        let description = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(text.trim_end(), description);
        assert!(text.ends_with(" \n"));
        assert_eq!(&bytes[128..132], 1.0f32.to_le_bytes());
    }

    #[test]
    fn vectors_scalars_and_emptiness_have_their_tuples() {
        let text = |shape: &[usize]| String::from_utf8_lossy(&header(shape)).into_owned();
        assert!(text(&[7]).contains("'shape': (7,), "));
        assert!(text(&[]).contains("'shape': (), "));
        assert!(text(&[0, 4]).contains("'shape': (0, 4), "));
        assert!(header(&[usize::MAX; 8]).len().is_multiple_of(64));
    }
}
