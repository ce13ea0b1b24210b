#!/usr/bin/env bash
# The validation loss of books10m.sh in half of its tokens and a third of its time: Muon, larger batches, one line of the learning
# rate down to 0. docs/experiments.md tells what came out of it.
#
#   recipes/books10m_muon.sh DATA OUT      DATA: what books10m.sh prepared (its OUT/data); OUT: a new folder
set -euo pipefail
data=${1:?DATA and OUT are missing} out=${2:?OUT is missing}
"$(dirname "$0")/../target/release/trilobit" train --preset books10m --data "$data" --out "$out" \
  --set train.optimizer=muon --set train.batch=16 --set train.steps=965 \
  --set train.validate_batches=10 --set train.record_every=193 \
  --set schedule.kind=linear --set schedule.peak=6e-3 --set schedule.warmup=60 --set schedule.floor=0
