"""Everything of an explanation that can be refused before a model is loaded or trained."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.config import ExplainConfig, ModelConfig, require_effect
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.explain.block_swap import check_sizes
from hyperfitting.models.anatomy import FAMILIES, is_known_type
from hyperfitting.models.load import load_model_config
from hyperfitting.records.controls import RECORDS

# On what a control finds; a batch's width changes the last bit of sums at most.
WITHOUT_EFFECT = {"only", "device", "trust_remote_code", "batch_size"}

# Controls that let hybrids of both models write, and those that a setting has an effect on.
OF_HYBRIDS = ("block_swap", "single_blocks", "rotation")
USED_BY: Mapping[str, tuple[str, ...]] = {
    "promoted_tokens": ("static_bias",),
    "strengths": ("static_bias",),
    "random_draws": ("static_bias",),
    "swap_contexts": OF_HYBRIDS,
    "swap_blocks": ("block_swap",),
    "lens_positions": ("lens",),
}


def check(config: ExplainConfig, model: ModelConfig) -> None:
    """Look whether the controls can be run on a model and on what is trained from it.

    Raises:
        InputError: it is of no known family, lacks blocks that are asked for, or is not there; or
            a setting is without effect.
    """
    require_settings(config)
    found = load_model_config(model)
    text = found.get_text_config()
    require_family(found.model_type, text.model_type)
    check_sizes(config, text.num_hidden_layers)


def require_settings(config: ExplainConfig) -> None:
    """Refuse settings of a control that is switched off.

    Raises:
        InputError: there is one.
    """
    for name in config.only:
        if name not in RECORDS:
            raise InputError(
                f"there is no control {name!r}",
                needed=f"one of {', '.join(RECORDS)}",
                hint=did_you_mean(name, RECORDS),
            )
    hybrids = [name for name in config.only if name in OF_HYBRIDS]
    if hybrids and config.swap_contexts == 0:
        raise InputError(
            f"swap_contexts=0 leaves nothing of {hybrids[0]}",
            needed="swap_contexts above 0, or other controls (only)",
        )
    for setting in USED_BY:
        without, needed = " or ".join(USED_BY[setting]), f"only={USED_BY[setting][0]}"
        if setting == "swap_blocks" and config.swap_contexts == 0:
            without, needed = "a block swap", "swap_contexts above 0"
        require_effect(config, (setting, bool(_users(config, setting)), without, needed))


def _users(config: ExplainConfig, setting: str) -> list[str]:
    """The controls among those that are run which a setting has an effect on."""
    swaps = config.swap_contexts != 0 or setting == "swap_contexts"
    return [
        name
        for name in USED_BY[setting]
        if name in (config.only or RECORDS) and (swaps or name not in OF_HYBRIDS)
    ]


def without_unused(config: ExplainConfig, own: Mapping[str, Any]) -> ExplainConfig:
    """The same, where settings that nothing uses are as by default if they have their `own` value.

    For a caller that brings values of its own, which the user has not given.
    """
    fields = ExplainConfig.model_fields
    unused = [
        name
        for name in USED_BY
        if getattr(config, name) == own.get(name) and not _users(config, name)
    ]
    return config.model_copy(update={name: fields[name].default for name in unused})


def require_family(*kinds: str) -> None:
    """Refuse a model whose layers cannot be told apart; `kinds` are what its config calls it.

    Raises:
        InputError: none of them is in the table of families.
    """
    if not any(map(is_known_type, kinds)):
        raise InputError(
            f"the layers of a {kinds[0]!r} model cannot be told apart",
            needed=f"one of {', '.join(FAMILIES)}",
            hint="hyperfit evaluate compares models of any family",
        )


def settings_of(config: ExplainConfig) -> dict[str, Any]:
    """Those that a finding depends on, as files hold them."""
    return config.model_dump(mode="json", exclude=WITHOUT_EFFECT)
