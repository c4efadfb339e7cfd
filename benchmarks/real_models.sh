#!/usr/bin/env bash
# A real model with every method from the defaults, three seeds, controls and nulls: docs/results.
#
#   bash benchmarks/real_models.sh MODEL OUT [HYPERFIT [SEEDS]]
#
# From the repository. MODEL: a folder, a .gguf file or a hub id (recipes/real-models.md). Hours on
# two cores; run again after an interruption it goes on with the run that was stopped, and does not
# repeat what is complete; nor does an evaluation repeat the models that it has scored. What was
# measured last is in OUT/study and OUT/explained; recipes/results_pages.py takes it into
# docs/results.
set -euo pipefail
model=$1 out=$2 hyperfit=${3:-hyperfit} seeds=${4:-0 1 2}
runs=()
train() { # NAME SETTINGS...: a run, or what is left of it
  local run=$out/runs/$1
  runs+=("$run")
  if [ -e "$run/manifest.json" ]; then # a complete run says so and ends
    $hyperfit train --resume --out "$run"
  else
    $hyperfit train "$model" --data builtin:fiction --out "$run" "${@:2}"
  fi
}
for seed in $seeds; do # the first seed of every arm first
  for method in full_sft late_half_sft late_stage_sft late_stage_lora full_lora early_stage_lora lisa; do
    train "$method-$seed" --method $method train.seed="$seed"
  done
  train "late_half_sft-shuffled-$seed" --method late_half_sft train.seed="$seed" data.null=shuffled
done
if [ ! -e "$out/study/tasks.json" ]; then # the last that it writes
  $hyperfit evaluate "${runs[@]}" --out "$out/study" natural_tokens=128 sampling_seeds=1 \
    --decoders min_p,repetition_penalty:1.2,guard,dry \
    --tasks benchmarks/tasks/agreement.yaml,benchmarks/tasks/capitals.yaml
fi
if [ ! -e "$out/explained/explain" ]; then
  $hyperfit explain "$out/runs/full_sft-0" --out "$out/explained" random_draws=1 \
    "strengths=[0.1,1.0]" \
    --only provenance,static_bias,joint_null,overrides,tokens,lens,geometry,block_swap
fi
