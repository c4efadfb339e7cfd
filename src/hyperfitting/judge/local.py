"""A judge on this machine: a causal language model, decoded greedily by our own loop."""

from collections.abc import Sequence
from typing import Any

from hyperfitting.config import ModelConfig
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.data.borders import borders_of
from hyperfitting.data.limits import OverLimitError, limited
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.judge.reasoning import split_reasoning
from hyperfitting.judge.reply import AskError, Message, Reply, longest_answer
from hyperfitting.models.digests import model_digest
from hyperfitting.models.interface import positions_of
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.tokens import end_token_ids, unwritable_token_ids

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
        self.borders = borders_of(self.tokenizer)
        self.ends = end_token_ids(self.model, self.tokenizer)
        # Special tokens are not banned: many mark where the reasoning ends (Mistral, gpt-oss).
        unwritable = unwritable_token_ids(self.model, self.tokenizer)
        self.banned = [i for i in unwritable if i >= len(self.tokenizer)]
        self.longest = config.max_tokens or NO_LIMIT

    def prompt(self, messages: Sequence[Message]) -> str:
        """The conversation as text, ready for the judge's turn."""
        turns = [{"role": turn.role, "content": turn.text} for turn in messages]
        if not self.tokenizer.chat_template:
            return "\n".join(turn.text for turn in messages)
        render = self.tokenizer.apply_chat_template
        try:
            with limited():
                return str(render(turns, tokenize=False, add_generation_prompt=True))
        except OverLimitError as error:
            raise InputError(
                f"the chat template of the judge {self.name} was stopped: {error}",
                needed="a chat template that writes a conversation in seconds",
            ) from error

    def token_ids(self, messages: Sequence[Message]) -> list[int]:
        """The conversation as tokens; a template writes the opening token itself."""
        text = self.prompt(messages)
        if self.tokenizer.chat_template:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return self.borders.lead + self.borders.encode(text)

    def _opened(self, messages: Sequence[Message]) -> str:
        """The marks of reasoning that the template opens for the judge, as R1's does."""
        # After the last message only: a system prompt may explain the marks.
        after = self.prompt(messages).rpartition(messages[-1].text.strip())[2]
        return "".join(split_reasoning(after).unclosed)

    def __call__(self, messages: Sequence[Message]) -> Reply:
        """See `Judge`."""
        prompt = self.token_ids(messages)
        positions = positions_of(self.model.config)
        if positions is not None and len(prompt) + self.longest > positions:
            raise AskError(
                f"{len(prompt)} tokens and an answer of {self.longest} are more than the "
                f"{positions} positions of the judge (a smaller max_tokens may cure it)",
                is_refused=True,
            )
        (answer,) = decode(
            self.model, [prompt], max_new_tokens=self.longest, banned=self.banned, ends=self.ends
        )
        is_whole = bool(answer.ids) and answer.ids[-1] in self.ends
        # Special tokens stay in the text: without them reasoning and answer cannot be told apart.
        written = answer.ids[:-1] if is_whole else answer.ids
        text = self._opened(messages) + str(
            self.tokenizer.decode(written, skip_special_tokens=False)
        )
        cut = None if is_whole else longest_answer(self.longest)
        return Reply(text, cut, len(prompt), len(answer.ids), None)
