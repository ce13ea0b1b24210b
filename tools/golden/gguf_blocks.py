"""Writes tests/golden/formats: tensors in GGUF blocks, and a small GGUF file, by the reference implementations.

    pip install gguf==0.19.0 llama-cpp-python
    python tools/golden/gguf_blocks.py                  # rewrites the files
    python tools/golden/gguf_blocks.py --check          # makes them elsewhere and compares
    python tools/golden/gguf_blocks.py --read FILE      # prints what the reference reader finds in a GGUF file

The Python package `gguf` quantises and dequantises; the K-quants come from ggml's C library (`--ggml PATH`, or the one
that llama-cpp-python brings). I2_S exists in neither: it is written out here after `bitnet.cpp`.
"""

import argparse
import ctypes
import importlib.util
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file, save_file

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "formats"
BY_PACKAGE = [Type.F16, Type.BF16, Type.TQ1_0, Type.TQ2_0, Type.Q8_0, Type.Q4_0, Type.Q4_1]
BY_LIBRARY = {Type.Q4_K: "quantize_row_q4_K_ref", Type.Q6_K: "quantize_row_q6_K_ref"}
# Bytes at which a block of the type holds an f16, so that drawn bytes get sane scales.
HALVES = {
    Type.TQ1_0: [52], Type.TQ2_0: [64], Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2],
    Type.Q4_K: [0, 2], Type.Q6_K: [208],
}


def values(rng):
    """Four blocks of 256: Gaussian, ternary with rounding ties and zeros, all zero, of very different sizes."""
    gauss = rng.standard_normal(256) * 0.05
    ternary = rng.integers(-1, 2, 256) * 0.0173
    ternary[:4] = [0.0173, 0.00865, -0.00865, 0.0]
    wide = rng.standard_normal(256) * np.exp2(rng.integers(-20, 8, 256))
    return np.concatenate([gauss, ternary, np.zeros(256), wide]).astype(np.float32)


def by_library(library, name, array):
    """Blocks of the C library's reference quantiser."""
    block, size = gguf.GGML_QUANT_SIZES[name]
    out = np.zeros(array.size // block * size, np.uint8)
    quantise = getattr(library, BY_LIBRARY[name])
    quantise(array.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(array.size))
    return out


def drawn(rng, name):
    """Eight blocks of random bytes with sane scales: what a decoder has to make of bytes no encoder writes."""
    _, size = gguf.GGML_QUANT_SIZES[name]
    blocks = rng.integers(0, 256, (8, size), dtype=np.uint8)
    for at in HALVES[name]:
        blocks[:, at : at + 2] = rng.standard_normal(8).astype(np.float16).view(np.uint8).reshape(8, 2)
    return blocks.reshape(-1)


def i2_s(codes, scale, group):
    """Codes in blocks of 4·group: byte j of a block holds codes j, group+j, 2·group+j, 3·group+j from the top."""
    stored = (codes + 1).astype(np.uint8).reshape(-1, 4, group)
    packed = stored[:, 0] << 6 | stored[:, 1] << 4 | stored[:, 2] << 2 | stored[:, 3]
    tail = np.frombuffer(np.float32(scale).tobytes() + bytes(range(1, 29)), np.uint8)
    return np.concatenate([packed.reshape(-1), tail])


def blocks(library, out):
    """`values/T` → `bytes/T` → `decoded/T`, and `drawn/T` → `decoded_drawn/T`."""
    rng = np.random.default_rng(1958)
    array = values(rng)
    tensors = {"values": array}
    for name in BY_PACKAGE + list(BY_LIBRARY):
        label = name.name
        quantised = by_library(library, name, array) if name in BY_LIBRARY else gguf.quantize(array, name)
        quantised = np.ascontiguousarray(quantised).view(np.uint8)
        tensors[f"bytes/{label}"] = quantised
        typed = quantised.view(np.float16) if name == Type.F16 else quantised
        tensors[f"decoded/{label}"] = gguf.dequantize(typed, name)
        if name in HALVES:
            tensors[f"drawn/{label}"] = drawn(rng, name)
            tensors[f"decoded_drawn/{label}"] = gguf.dequantize(tensors[f"drawn/{label}"], name)
    codes = rng.integers(-1, 2, 512)
    tensors["codes"] = codes.astype(np.int8)
    for label, group in (("I2_S", 32), ("I2_S_ARM", 16)):
        tensors[f"bytes/{label}"] = i2_s(codes, 0.75, group)
    for name in (Type.TQ1_0, Type.TQ2_0):
        tensors[f"codes/{name.name}"] = gguf.quantize((codes * 0.75).astype(np.float32), name)
    save_file(tensors, out / "blocks.safetensors")


def small_file(out):
    """Every metadata type, and tensors of four types at an alignment of 64."""
    rng = np.random.default_rng(4)
    writer = gguf.GGUFWriter(out / "small.gguf", "bitnet-b1.58")
    writer.add_custom_alignment(64)
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 4294967295)
    writer.add_int32("a.i32", -2147483648)
    writer.add_float32("a.f32", 0.1)
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "Grüße, 世界")
    writer.add_array("a.texts", ["a", "", "ö"])
    writer.add_array("a.i32s", [1, -2, 3])
    writer.add_array("a.f32s", [0.5, -1.5])
    writer.add_array("a.bools", [True, False])
    writer.add_array("a.bytes", b"\x00\xff")
    writer.add_tensor("token_embd.weight", rng.standard_normal((3, 256)).astype(np.float16))
    writer.add_tensor("output_norm.weight", rng.standard_normal(5).astype(np.float32))
    for name in (Type.TQ2_0, Type.Q8_0):
        rows = gguf.quantize(rng.standard_normal((2, 256)).astype(np.float32), name)
        writer.add_tensor(f"blk.0.{name.name.lower()}.weight", rows, raw_dtype=name)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path):
    """Everything the reference reader finds, one line each; then OK."""
    reader = gguf.GGUFReader(path)
    for field in reader.fields.values():
        print(f"{field.name} = {field.contents()!r}"[:200])
    for tensor in reader.tensors:
        decoded = gguf.dequantize(tensor.data, tensor.tensor_type)
        shape = [int(dimension) for dimension in reversed(tensor.shape)]
        print(f"{tensor.name} {tensor.tensor_type.name} {shape} sum {decoded.astype(np.float64).sum():.6f}")
    print("OK")


def ggml(path):
    """ggml's C library."""
    if path is None:
        found = importlib.util.find_spec("llama_cpp")
        path = found and Path(found.origin).parent / "lib" / "libggml-base.so"
    if path is None or not Path(path).exists():
        raise SystemExit("ggml's C library is not there; install llama-cpp-python, or name it with --ggml")
    return ctypes.CDLL(str(path))


def check(library):
    """Whether the committed files are what the references write today; the tests hold our blocks to the committed ones."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        blocks(library, out)
        small_file(out)
        made, kept = load_file(out / "blocks.safetensors"), load_file(OUT / "blocks.safetensors")
        same = made.keys() == kept.keys() and all(made[name].tobytes() == kept[name].tobytes() for name in made)
        same_file = (out / "small.gguf").read_bytes() == (OUT / "small.gguf").read_bytes()
    formats = len(BY_PACKAGE) + len(BY_LIBRARY) + 2
    print(f"{len(made)} tensors of {formats} formats {'equal' if same else 'DIFFER'}, "
          f"small.gguf {'equal' if same_file else 'DIFFERS'}")
    raise SystemExit(0 if same and same_file else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--read", help="read this GGUF file instead")
    parser.add_argument("--ggml", help="ggml's C library (libggml-base.so)")
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing")
    arguments = parser.parse_args()
    if arguments.read:
        read(arguments.read)
        return
    library = ggml(arguments.ggml)
    if arguments.check:
        check(library)
        return
    OUT.mkdir(parents=True, exist_ok=True)
    blocks(library, OUT)
    small_file(OUT)


main()
