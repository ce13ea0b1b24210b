#!/usr/bin/env python3
"""Times prefill and decoding of a GGUF file by llama.cpp or ik_llama.cpp, through their Python packages.

    python infer_peer.py --engine llama --model model.gguf --threads 2 --prefill 512 --decode 64

Needs `llama-cpp-python` or `ik-llama-cpp-python`. Only the engine's own call is timed, without choosing a token.
One JSON object: tokens per second, the median of the rounds.
"""

import argparse
import ctypes
import importlib
import json
import statistics
import time

PROMPT = 8  # tokens before those that decoding is timed on


def token(index: int, vocabulary: int) -> int:
    return index * 7919 % vocabulary


class Llama:
    """llama-cpp-python."""

    def __init__(self, path: str, threads: int, context: int):
        package = importlib.import_module("llama_cpp")
        self.model = package.Llama(model_path=path, n_ctx=context, n_batch=context, n_ubatch=context, n_threads=threads,
                                   n_threads_batch=threads, verbose=False)
        self.vocabulary = self.model.n_vocab()

    def clear(self) -> None:
        self.model.reset()
        self.model._ctx.kv_cache_clear()

    def read(self, ids: list[int], position: int) -> None:
        del position
        self.model.eval(ids)


class Ik:
    """ik-llama-cpp-python."""

    def __init__(self, path: str, threads: int, context: int):
        package = importlib.import_module("ik_llama_cpp")
        self.c = importlib.import_module("ik_llama_cpp._ctypes_api")
        self.llama = package.IkLlama(path, n_ctx=context, n_threads=threads, verbose=False)
        self.vocabulary = self.llama._model.n_vocab
        self.batch = self.c.llama_batch_init(context, 0, 1)

    def clear(self) -> None:
        self.llama._context.kv_cache_clear()

    def read(self, ids: list[int], position: int) -> None:
        self.batch.n_tokens = len(ids)
        for i, identity in enumerate(ids):
            self.batch.token[i] = identity
            self.batch.pos[i] = position + i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = int(i + 1 == len(ids))
        if self.llama._context.decode(self.batch) != 0:
            raise SystemExit("llama_decode failed")
        # Work may still be under way until a result is read.
        ctypes.c_float.from_address(ctypes.addressof(self.llama._context.get_logits(-1).contents))


def time_prefill(engine, tokens: int) -> float:
    engine.clear()
    ids = [token(i, engine.vocabulary) for i in range(tokens)]
    begun = time.perf_counter()
    engine.read(ids, 0)
    return tokens / (time.perf_counter() - begun)


def time_decode(engine, tokens: int) -> float:
    engine.clear()
    engine.read([token(i, engine.vocabulary) for i in range(PROMPT)], 0)
    begun = time.perf_counter()
    for i in range(tokens):
        engine.read([token(i, engine.vocabulary)], PROMPT + i)
    return tokens / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["llama", "ik"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=0, help="tokens; 0 leaves it out")
    parser.add_argument("--decode", type=int, default=0, help="tokens; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    engine = {"llama": Llama, "ik": Ik}[args.engine](args.model, args.threads, max(args.prefill, args.decode + PROMPT, 64))
    time_decode(engine, 2)  # warms up
    result = {"engine": args.engine, "threads": args.threads}
    if args.decode:
        result["decode"] = statistics.median(time_decode(engine, args.decode) for _ in range(args.rounds))
    if args.prefill:
        result["prefill"] = statistics.median(time_prefill(engine, args.prefill) for _ in range(args.rounds))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
