"""A judge on this machine: a causal language model, decoded greedily by our own loop."""

from collections.abc import Sequence
from typing import Any

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.judge.config import JudgeConfig
from hyperfitting.judge.endpoint import AskError, Message, Reply
from hyperfitting.models.interface import positions_of
from hyperfitting.models.load import (
    end_token_ids,
    load_model,
    load_tokenizer,
    model_digest,
    unwritable_token_ids,
)

NO_LIMIT = 1024  # tokens of an answer where the setting leaves it open


class LocalJudge:
    """Answers one conversation at a time; a chat template is used where there is one."""

    concurrency = 1

    def __init__(self, config: JudgeConfig) -> None:
        """Load the model.

        Raises:
            InputError: it cannot be loaded, or settings ask for sampling.
        """
        if config.temperature:
            raise InputError(
                f"temperature is {config.temperature} with a local judge",
                needed="temperature=0: a local judge decodes greedily",
            )
        model_config = ModelConfig(
            name=config.model,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
            revision=None,
            quantization="none",
        )
        self.name = config.model
        self.tokenizer: Any = load_tokenizer(model_config)
        self.model = load_model(model_config)
        self.digest = model_digest(self.model)
        self.ends = end_token_ids(self.model, self.tokenizer)
        banned = unwritable_token_ids(self.model, self.tokenizer)
        self.banned = [i for i in banned if i not in self.ends]
        self.longest = config.max_tokens or NO_LIMIT

    def token_ids(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as tokens, ready for the judge's turn."""
        if self.tokenizer.chat_template:
            turns = [{"role": turn.role, "content": turn.text} for turn in messages]
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            # The template writes the opening token itself.
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer("\n".join(turn.text for turn in messages))["input_ids"])

    def __call__(self, messages: Sequence[Message]) -> Reply:
        """See `Judge`."""
        prompt = self.token_ids(messages)
        positions = positions_of(self.model.config)
        if positions is not None and len(prompt) + self.longest > positions:
            raise AskError(
                f"{len(prompt)} tokens and an answer of {self.longest} are more than the "
                f"{positions} positions of the judge"
            )
        (answer,) = decode(
            self.model, [prompt], max_new_tokens=self.longest, banned=self.banned, ends=self.ends
        )
        text = str(self.tokenizer.decode(answer.ids, skip_special_tokens=True))
        is_cut = not (answer.ids and answer.ids[-1] in self.ends)
        return Reply(text, is_cut, len(prompt), len(answer.ids), None)
