"""Make the golden study: the verbs that make and read one, built-in model, scripted judge.

    python -m tests.golden.make_study OUT [--source FOLDER]

Two methods x two seeds, one of them a second time with another setting, are evaluated with other
decoders, MAUVE, coherence, copies and tasks, explained, judged and reported; the same runs on two
sets of texts; two checkpoints that are no runs; a small demo; what `config show`, `generate` and
`--help` print. Everything goes through the command line, which is what must not change when the
code behind it does. `compare.py` says where two such folders differ.

`--source` names another checkout's `src` to run. Needs the extra `tasks`; about ten minutes.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.judge.serving import sections, serving, verdict
from tests.tasks.test_harness import write_task
from tests.tiny import save_tiny

KEY = "sk-golden"
TRAIN = [
    "data.num_train=24", "data.num_heldout=14", "data.window_tokens=96", "data.context_tokens=16",
    "data.continuation_tokens=32", "train.epochs=4", "train.batch_size=4", "train.stop=epochs",
    "monitor.every_epochs=2", "monitor.num_contexts=3", "monitor.num_windows=3",
]  # fmt: skip
EVALUATE = ["natural_tokens=40", "sampling_seeds=2", "resamples=300"]
EXPLAIN = [
    "resamples=300", "strengths=[0.1, 1.0]", "random_draws=2", "swap_blocks=[0, 1, 5, 12]",
    "swap_contexts=6",
]  # fmt: skip
DEMO = [
    *TRAIN[:-1], "evaluate.natural_tokens=40", "evaluate.resamples=300", "explain.resamples=300",
    "explain.swap_contexts=4", "methods=[full_sft, late_stage_lora]", "report.num_examples=3",
]  # fmt: skip
VERBS = ("demo", "train", "evaluate", "explain", "generate", "judge", "report")
SCRIPTS = "printed"  # folder of what commands print


def opinion(prompt: str) -> str:
    """A verdict that depends on the two texts and their order alone."""
    found, _ = sections(prompt)
    drawn = hashlib.sha256(f"{found['A']}|{found['B']}".encode()).digest()
    winner = ("A", "B", "tie", "A")[drawn[0] % 4]
    scores = [1 + value % 9 for value in drawn[1:5]]
    return json.dumps(verdict(winner, tuple(scores[:2]), tuple(scores[2:])))


class Golden:
    """Runs commands in one folder, which they name by relative paths only."""

    def __init__(self, out: Path, source: Path) -> None:
        self.out = out
        self.environment = os.environ | {
            "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            "OPENAI_API_KEY": KEY, "COLUMNS": "100", "NO_COLOR": "1",
        }  # fmt: skip

    def hyperfit(self, *arguments: str, keep: str | None = None) -> None:
        """Run a command; `keep` names the file that gets its standard output."""
        command = [sys.executable, "-m", "hyperfitting", *arguments]
        print(" ".join(arguments)[:110], flush=True)
        done = subprocess.run(
            command, cwd=self.out, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"exit code {done.returncode}\n{done.stderr}")
        if keep:
            (self.out / SCRIPTS / keep).write_text(done.stdout)


def train(golden: Golden) -> list[str]:
    """Four runs and a fifth that differs in a setting; returns their folders."""
    folders = []
    for method in ("late_stage_lora", "full_sft"):
        for seed in ("0", "1"):
            folder = f"runs/{method}-{seed}"
            golden.hyperfit(
                "train", "builtin", "--data", "builtin:fiction", "--method", method,
                "--seed", seed, "--out", folder, *TRAIN,
            )  # fmt: skip
            folders.append(folder)
    golden.hyperfit(
        "train", "builtin", "--data", "builtin:fiction", "--method", "late_stage_lora",
        "--last-blocks", "2", "--out", "runs/two-blocks", *TRAIN,
    )  # fmt: skip
    return [*folders, "runs/two-blocks"]


def study(golden: Golden, runs: list[str]) -> None:
    """The study of the runs: evaluated with all that can be asked for, explained and judged."""
    golden.hyperfit(
        "evaluate", *runs, "--out", "study", "--decoders", "min_p:0.1,guard,beam:2,mirostat",
        "--tasks", "tasks/letters.yaml", "--mauve-features", "builtin", "citation_blocked=true",
        "self_bleu=true", "coherence_model=builtin", *EVALUATE,
        keep="evaluate.txt",
    )  # fmt: skip
    golden.hyperfit("explain", "study", *EXPLAIN, keep="explain.txt")
    pairs = [
        ("late_stage_lora,seed=0,last_blocks=5", "hyperfitted,seed=0"),
        ("late_stage_lora,seed=1,last_blocks=5", "hyperfitted,seed=1"),
        ("late_stage_lora,seed=0,last_blocks=2", "original"),
        ("original+guard,sampling_seed=0", "human"),
    ]
    with serving(key=KEY, answer=opinion) as server:
        for number, (a, b) in enumerate(pairs):
            golden.hyperfit(
                "judge", "study", "--a", a, "--b", b, "--endpoint", server.url, "--model",
                "scripted", "--pairs", "8", "--swap-check", keep=f"judge-{number}.txt",
            )  # fmt: skip
    golden.hyperfit("report", "study", "num_examples=4")


def others(golden: Golden, runs: list[str]) -> None:
    """A lone run, other texts, checkpoints that are no runs, decoders on all models, the demo."""
    golden.hyperfit(
        "evaluate", runs[0], runs[2], "--data", "builtin:fiction", "--data", "builtin:news",
        "--decoders", "top_p:0.9+temperature:0.7", "decoders_on=all", "--out", "domains", *EVALUATE,
    )  # fmt: skip
    golden.hyperfit("explain", runs[0], *EXPLAIN)
    golden.hyperfit("evaluate", runs[0], "best_val=true", *EVALUATE)
    texts = golden.out / "texts.jsonl"
    rows = [{"story": f"{n}. " + "the cat saw a dog and ran away. " * (4 + n)} for n in range(16)]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair = ["--base", "builtin", "--tuned", "runs/full_sft-0/model", "--data", "texts.jsonl",
            "--text-field", "story", "data.window_tokens=32", "data.context_tokens=8",
            "data.continuation_tokens=24", "--out", "checkpoints"]  # fmt: skip
    golden.hyperfit("evaluate", *pair, *EVALUATE)
    golden.hyperfit("explain", *pair, "resamples=300", "random_draws=1", "swap_blocks=[0, 5]")
    golden.hyperfit("demo", "--out", "demo", *DEMO, keep="demo.txt")
    save_tiny(golden.out / "tiny")


def printed(golden: Golden, runs: list[str]) -> None:
    """What commands print."""
    for verb in VERBS:
        golden.hyperfit("config", "show", verb, "--json", keep=f"config-{verb}.json")
        golden.hyperfit(verb, "--help", keep=f"help-{verb}.txt")
    golden.hyperfit(
        "generate", runs[0], "--prompt", "The old bridge", "--prompt", "She said",
        "--decoder", "min_p:0.1", "num_samples=2", "--seed", "3", "--json", keep="generate.json",
    )  # fmt: skip


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, default=Path("src"))
    chosen = parser.parse_args()
    chosen.out = chosen.out.resolve()  # commands run there
    shutil.rmtree(chosen.out, ignore_errors=True)
    (chosen.out / SCRIPTS).mkdir(parents=True)
    (chosen.out / "tasks").mkdir()
    write_task(chosen.out / "tasks")
    golden = Golden(chosen.out, chosen.source)
    runs = train(golden)
    study(golden, runs)
    others(golden, runs)
    printed(golden, runs)


if __name__ == "__main__":
    main()
