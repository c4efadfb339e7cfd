"""Open two checkpoints of one architecture that we did not train."""

from functools import partial

from hyperfitting.compare.comparison import Comparison, Here, TunedModel
from hyperfitting.config import CheckpointsConfig, ModelConfig, require_effect
from hyperfitting.data.sources import read_documents
from hyperfitting.data.windows import build_dataset
from hyperfitting.models.load import load_tokenizer
from hyperfitting.models.tuned import (
    base_of_tuned,
    kind_of_tuned,
    load_tuned,
    require_same_architecture,
    require_same_tokenizer,
)
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.study import TrainingFacts


def open_checkpoints(config: CheckpointsConfig, here: Here, progress: Progress) -> Comparison:
    """Two checkpoints of one architecture that we did not train, on held-out texts of a source.

    The texts are split as for training, and the held-out part is used.

    Raises:
        InputError: a checkpoint cannot be loaded, their tokenizers differ, the texts do not
            serve, or a setting is without effect.
    """
    require_effect(
        config.data,
        ("null", False, "a training", "hyperfit train"),
        ("null_source", False, "a training", "hyperfit train"),
    )
    model = here.put(ModelConfig(**config.model.model_dump()))
    of_tuned = {"name": config.tuned, "revision": config.tuned_revision}
    checkpoint = model.model_copy(update=of_tuned)
    model = base_of_tuned(checkpoint, model)
    tokenizer = load_tokenizer(model)
    documents = read_documents(config.data)
    texts = (text for document in documents for text in document.texts())
    note = require_same_tokenizer(model, checkpoint, tokenizer, texts)
    require_same_architecture(model, checkpoint)
    kind = kind_of_tuned(checkpoint, model)
    with progress.stage("read texts") as stage:
        dataset = build_dataset(documents, tokenizer, config.data, stage)
        stage.update(1, f"{len(dataset.contexts)} held-out contexts")
    load = partial(load_tuned, checkpoint, model, kind, note=note)
    tuned = TunedModel(Arm("tuned"), load, TrainingFacts(checkpoint=config.tuned))
    data = config.data.model_dump(mode="json")
    data |= {"contexts_digest": dataset.contexts.digest()}
    data |= {"template_date": dataset.template_date}
    return Comparison(model, None, [tuned], dataset, data)
