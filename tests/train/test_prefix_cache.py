"""Where a cache goes, that a damaged one is rebuilt, and that keys tell caches apart."""

import dataclasses
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import torch

from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.blocks import hidden_entering
from hyperfitting.progress import Progress
from hyperfitting.storage import only_writer
from hyperfitting.train import prefix_cache
from hyperfitting.train.prefix_cache import CacheKey, choose_place, make_store
from tests.conftest import random_rows
from tests.tiny import tiny_model

CPU = torch.device("cpu")
IDS = torch.tensor(random_rows(10, 12))
KEY = CacheKey("m", "d", 2, "float32", 4, 10, 12, 16, "cpu")


class Log(Progress):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def _end(self, stage, seconds):
        self.lines.append(stage.note)


def store(folder, place="disk", key=KEY, log=None):
    return make_store(anatomy(tiny_model()), IDS, key, place, folder, CPU, log or Log())


def all_rows(found):
    return found.rows(torch.arange(10).numpy())


@pytest.fixture
def expected():
    parts = anatomy(tiny_model())
    filled = IDS[torch.tensor([*range(10), 8, 9])]  # the last batch repeats its own rows
    with torch.no_grad():
        return torch.cat([hidden_entering(parts, b, 2) for b in filled.split(4)])[:10]


@pytest.mark.parametrize("shard_bytes", [1, 2**28])
def test_ram_disk_and_reopened_agree_bit_for_bit(tmp_path, expected, monkeypatch, shard_bytes):
    monkeypatch.setattr(prefix_cache, "SHARD_BYTES", shard_bytes)
    for place in ("ram", "disk", "disk", "auto"):
        assert torch.equal(all_rows(store(tmp_path, place)), expected)
    shuffled = torch.tensor([7, 1, 9]).numpy()
    assert torch.equal(store(tmp_path).rows(shuffled), expected[[7, 1, 9]])
    shards = len(list(tmp_path.rglob("*.safetensors")))
    assert shards == (3 if shard_bytes == 1 else 1)


def test_a_cache_on_disk_is_reused_and_said(tmp_path):
    first, again = Log(), Log()
    store(tmp_path, log=first)
    store(tmp_path, log=again)
    assert "kept in disk" in first.lines[-1]
    assert "reused" in again.lines[-1]


def flip_a_byte(folder):
    file = next(folder.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def remove_seal(folder):
    (folder / "COMPLETE.json").unlink()


def remove_shard(folder):
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize("harm", [flip_a_byte, remove_seal, remove_shard])
def test_a_damaged_cache_is_said_and_rebuilt(tmp_path, expected, harm):
    store(tmp_path)
    harm(tmp_path / KEY.name())
    log = Log()
    assert torch.equal(all_rows(store(tmp_path, log=log)), expected)
    assert "damaged" in log.lines[0]
    assert "computed again" in log.lines[0]
    assert torch.equal(all_rows(store(tmp_path)), expected)


def test_a_cache_of_something_else_under_this_name_is_not_used(tmp_path, expected):
    other = dataclasses.replace(KEY, data_digest="other")
    store(tmp_path, key=other)
    shutil.move(tmp_path / other.name(), tmp_path / KEY.name())
    log = Log()
    assert torch.equal(all_rows(store(tmp_path, log=log)), expected)
    assert "another model or data set" in log.lines[0]


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(CacheKey)])
def test_every_part_of_the_key_counts(field):
    value = getattr(KEY, field)
    changed = value + 1 if isinstance(value, int) else value + "x"
    assert dataclasses.replace(KEY, **{field: changed}).name() != KEY.name()


@contextmanager
def held_while_a_second_waits(folder):
    """Hold the lock until a second writer waits for it; what the second says, and what it gets."""
    found, log = {}, Log()

    def work():
        found["states"] = all_rows(store(folder, log=log))

    second = threading.Thread(target=work)
    with only_writer(folder / f"{KEY.name()}.lock"):
        second.start()
        while not log.lines:
            time.sleep(0.01)
        yield log, found
    second.join()


def test_a_second_writer_waits_and_opens_what_the_first_wrote(tmp_path, expected, monkeypatch):
    with held_while_a_second_waits(tmp_path) as (log, found):
        assert "in use by process" in log.lines[0]
        assert log.lines[0].endswith("the prefix cache is waited for")
        write_shards = prefix_cache._write_shards
        monkeypatch.setattr(prefix_cache, "_write_shards", None)  # nobody writes it twice
        write_shards(tmp_path / KEY.name(), anatomy(tiny_model()), IDS, KEY, lambda _: None)
    assert torch.equal(found["states"], expected)


def test_where_the_first_writer_failed_the_second_writes(tmp_path, expected):
    with held_while_a_second_waits(tmp_path) as (_, found):
        pass
    assert torch.equal(found["states"], expected)


def test_what_another_key_is_writing_is_left_alone(tmp_path):
    other = dataclasses.replace(KEY, data_digest="other")
    half = tmp_path / f".{other.name()}.tmp-abc"
    half.mkdir()
    mine = tmp_path / f".{KEY.name()}.tmp-abc"
    mine.mkdir()
    store(tmp_path)
    assert half.exists()
    assert not mine.exists()


def test_the_place_is_the_first_with_room(tmp_path, monkeypatch):
    monkeypatch.setattr(prefix_cache, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(prefix_cache, "free_disk", lambda folder: (5000, folder))
    gpu = torch.device("cuda")  # never touched: only its kind is looked at
    assert choose_place("auto", 400, gpu, tmp_path) == "gpu"
    assert choose_place("auto", 400, CPU, tmp_path) == "ram"
    assert choose_place("auto", 600, CPU, tmp_path) == "disk"
    assert choose_place("disk", 10, CPU, tmp_path) == "disk"
    with pytest.raises(InputError, match="--prefix-cache is gpu, but the run is on the CPU"):
        choose_place("gpu", 10, CPU, tmp_path)
    for asked in ("auto", "disk", "ram"):
        with pytest.raises(InputError, match=r"takes 0\.01 MB, and there are"):
            choose_place(asked, 6000, CPU, tmp_path)


def test_a_disk_too_small_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(prefix_cache, "free_disk", lambda folder: (100, folder))
    monkeypatch.setattr(prefix_cache, "prefix_pass", None)  # would fail if it were called
    with pytest.raises(InputError, match="usable in disk"):
        store(tmp_path)
    assert list(tmp_path.iterdir()) == []
