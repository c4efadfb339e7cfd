#!/usr/bin/env bash
# Trainings on texts and on nulls, three seeds, then strengths and decoders: docs/what-variety-is-worth.md.
#
#   bash benchmarks/variety.sh OUT [HYPERFIT]
#
# The built-in model; about an hour on two cores. Run again after an interruption it goes on with the
# run that was stopped, and does not repeat what is complete.
set -euo pipefail
out=$1 hyperfit=${2:-hyperfit}
runs=()
for seed in 0 1 2; do
  for kind in full_sft:none full_sft:shuffled full_sft:self_samples \
    late_stage_lora:none late_stage_lora:shuffled; do
    method=${kind%%:*} null=${kind#*:}
    run=$out/runs/$method-$null-$seed
    runs+=("$run")
    if [ -e "$run/manifest.json" ]; then # a complete run says so and ends
      "$hyperfit" train --resume --out "$run"
    else
      "$hyperfit" train builtin --data builtin:fiction --method "$method" --out "$run" \
        data.num_train=80 "data.null=$null" train.stop=epochs "train.seed=$seed" monitor.every_epochs=0
    fi
  done
done
if [ ! -e "$out/study/study.json" ]; then
  "$hyperfit" evaluate "${runs[@]}" --out "$out/study" --strengths 0.25,0.5,0.75,1.25,1.5 \
    --decoders dry,min_k,p_less,min_p,top_p:0.9,repetition_penalty:1.2,guard,stop natural_tokens=128
fi
