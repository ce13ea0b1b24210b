#!/usr/bin/env bash
# A real run from plain text to a model that writes broken English: about 10 million parameters on about 40 MB of
# books, 40 minutes on two cores. docs/experiments.md tells what came out of it.
#
#   recipes/books10m.sh TRAIN VALID OUT      TRAIN, VALID: .txt, also .xz, .gz, .zst; OUT: a new folder
set -euo pipefail
train=${1:?TRAIN, VALID and OUT are missing} valid=${2:?VALID and OUT are missing} out=${3:?OUT is missing}
trilobit=$(dirname "$0")/../target/release/trilobit

mkdir -p "$out"
"$trilobit" tokenizer train --input "$train" --vocab-size 8192 --out "$out/tokenizer.json"
"$trilobit" data prepare --tokenizer "$out/tokenizer.json" --input "$train" --valid "$valid" --out "$out/data"
"$trilobit" train --preset books10m --data "$out/data" --out "$out/run" --max-time 60m
"$trilobit" eval perplexity "$out/run" --text "$valid"
"$trilobit" generate "$out/run" --prompt "The old man looked at" --max-tokens 120 --temperature 0.8 --seed 1
