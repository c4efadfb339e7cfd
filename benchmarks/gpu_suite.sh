#!/usr/bin/env bash
# Everything that waits for a GPU, in order of worth, each part with its own time limit; under nine
# minutes in all, from a bare checkout: what pyproject.toml needs must be there, the package itself
# need not be installed.
#
#   bash benchmarks/gpu_suite.sh OUT [MODEL]
#
# Each part leaves OUT/NAME.json and OUT/NAME.log; one that fails or runs out of time does not stop
# the others. MODEL: a real model's folder or .gguf file; then it is trained as the defaults train
# and with 1,000 windows. Figures go into docs/results/gpu.md.
set -u
out=$(mkdir -p "$1" && cd "$1" && pwd) model=${2:-}
cd "$(dirname "$0")/.."
export PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
python - <<'EOF' || exit 2
import re, sys, tomllib
from importlib.metadata import PackageNotFoundError, version
needed, missing = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], []
for requirement in [*needed, "pytest"]:
    try:
        version(re.match(r"[\w.-]+", requirement).group())
    except PackageNotFoundError:
        missing.append(requirement)
if missing:
    sys.exit(f"missing here: {', '.join(missing)} (pip install them, or name a folder that has "
             "them in PYTHONPATH)")
EOF
part() { # NAME SECONDS COMMAND...: standard output is its figures
  local name=$1 seconds=$2 start=$SECONDS
  timeout -k 10 "$seconds" "${@:3}" > "$out/$name.json" 2> "$out/$name.log"
  echo "$name: exit code $?, $((SECONDS - start)) s" | tee -a "$out/parts.txt"
}
gpu() { python benchmarks/gpu_train.py --json "$@"; }
export -f gpu
part tests 120 python -m pytest -q -m gpu -p no:cacheprovider tests/test_gpu.py
part smollm2 60 bash -c 'gpu --models smollm2-135m --methods late_half_sft late_stage_lora full_sft plain_lora plain_sft --steps 100 --windows 400 --compile off'
part tinyllama 60 bash -c 'gpu --models tinyllama --methods late_stage_lora full_sft plain_lora plain_sft --steps 50 --windows 400 --compile off'
part llama8b 60 bash -c 'gpu --models llama-3.1-8b --methods late_stage_lora --steps 50 --windows 400 --compile off'
part tail70b 45 bash -c 'gpu --models llama-3.1-70b-tail --methods late_stage_lora --steps 50 --windows 400 --compile off'
part compiled 50 bash -c 'gpu --models smollm2-135m --methods late_half_sft --steps 100 --windows 400 --compile on'
part decode 40 python benchmarks/decode.py --json --quick --device cuda
part gemma 40 bash -c 'gpu --models gemma-3-270m --methods late_half_sft late_stage_lora full_sft --steps 50 --windows 400 --compile off'
if [ -n "$model" ]; then
  run() { # NAME SETTINGS...: one training, its manifest as figures
    part "$1" 30 python -m hyperfitting train "$model" --data builtin:fiction --out "$out/runs/$1" --json "${@:2}"
  }
  run real_defaults
  run real_many data.windows_per_document=20 data.max_train=1000 train.epochs=3 monitor.every_epochs=1
fi
cat "$out/parts.txt"
