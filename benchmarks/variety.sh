#!/usr/bin/env bash
# Trainings on texts and on nulls, three seeds, at equal loss, at other strengths, beside decoders:
# docs/what-variety-is-worth.md.
#
#   bash benchmarks/variety.sh OUT [HYPERFIT [SCORER]]
#
# The built-in model; about an hour on two cores. SCORER, a model's folder or hub id, is an outside
# scorer: then a second study takes coherence under it, and MAUVE with its features, of one seed's
# arms (minutes with 135 M parameters). Run again after an interruption it goes on with the run that
# was stopped, and does not repeat what is complete.
set -euo pipefail
out=$1 hyperfit=${2:-hyperfit} scorer=${3:-}
decoders=dry,min_k,p_less,min_p,top_p:0.9,repetition_penalty:1.2,guard,stop
runs=() first=()
for seed in 0 1 2; do
  for kind in full_sft:none full_sft:shuffled full_sft:self_samples \
    late_stage_lora:none late_stage_lora:shuffled full_lora:none; do
    method=${kind%%:*} null=${kind#*:}
    run=$out/runs/$method-$null-$seed
    runs+=("$run")
    if [ "$seed" = 0 ]; then first+=("$run"); fi
    if [ -e "$run/manifest.json" ]; then # a complete run says so and ends
      $hyperfit train --resume --out "$run"
    else
      $hyperfit train builtin --data builtin:fiction --method "$method" --out "$run" \
        data.num_train=80 "data.null=$null" train.stop=epochs "train.seed=$seed" \
        "train.keep_at_loss=[2,1,0.7]" monitor.every_epochs=0
    fi
  done
done
if [ ! -e "$out/study/study.json" ]; then
  $hyperfit evaluate "${runs[@]}" --out "$out/study" --at-loss 1 --decoders "$decoders" \
    natural_tokens=128 sampling_seeds=1
fi
if [ ! -e "$out/strengths/study.json" ]; then
  $hyperfit evaluate "$out"/runs/{full_sft,late_stage_lora}-none-* --out "$out/strengths" \
    --strengths 0.25,0.5,1.5 natural_tokens=128 sampling_seeds=1
fi
if [ -n "$scorer" ] && [ ! -e "$out/scored/study.json" ]; then
  $hyperfit evaluate "${first[@]}" --out "$out/scored" --strengths 0.5,1.5 --decoders "$decoders" \
    natural_tokens=128 sampling_seeds=1 "coherence_model=$scorer" "mauve_features=$scorer"
fi
