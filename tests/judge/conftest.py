import pytest

from hyperfitting.config.judge import JudgeConfig
from tests.judge.serving import KEY


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def settings():
    def make(server=None, **changes):
        where = {"endpoint": server.url} if server else {}
        defaults = {"a": "late_stage_lora", "b": "full_lora", "model": "scripted"}
        defaults |= {} if changes.get("local") else {"concurrency": 8}
        return JudgeConfig(**defaults | where | changes)

    return make
