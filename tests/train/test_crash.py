"""A run killed anywhere, then resumed, ends with the straight run's files bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

POINTS = 14  # spread over the run, beside every operation of one save


def test_killed_at_any_file_operation_and_resumed(tmp_path, model_folder, texts_file):
    script = Path(__file__).with_name("crashing.py")
    command = [sys.executable, script, model_folder, texts_file, tmp_path, str(POINTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["outcomes"]) >= 20
    assert found["of_a_save"] >= 8
    for place, (was_killed, same, error) in found["outcomes"].items():
        assert was_killed, f"the run was over before operation {place}"
        assert same, f"killed at file operation {place} of {found['operations']}: {error}"
