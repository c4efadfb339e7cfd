"""Everything of an explanation that can be refused before a model is loaded or trained."""

from hyperfitting.config import ExplainConfig, ModelConfig, require_effect
from hyperfitting.errors import InputError
from hyperfitting.explain.block_swap import check_sizes
from hyperfitting.models.anatomy import FAMILIES, is_known_type
from hyperfitting.models.load import load_model_config


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
    swaps = config.swap_contexts != 0
    require_effect(config, ("swap_blocks", swaps, "a block swap", "swap_contexts above 0"))


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
