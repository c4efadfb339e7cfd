"""Stands where llama.cpp's converter does, and writes the tiny qwen2 model with its own package."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--outfile")
parser.add_argument("--outtype")
options = parser.parse_args()

from transformers import AutoModelForCausalLM  # noqa: E402

from tests.tiny_gguf import write_gguf  # noqa: E402

write_gguf(AutoModelForCausalLM.from_pretrained(options.model), options.outfile)
