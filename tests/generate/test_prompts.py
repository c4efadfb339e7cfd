"""Prompts as they are given."""

import pytest

from hyperfitting.errors import InputError
from hyperfitting.generate.prompts import read_prompts


def test_a_prompt_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"the prompt 'a\\udcffb' is no text"):
        read_prompts(["whole", "a\udcffb"], None)  # how a shell's byte 255 arrives
    (tmp_path / "prompts").write_bytes(b"a\xffb")
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(None, tmp_path / "prompts")
