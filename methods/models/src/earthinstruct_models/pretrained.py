"""Transformers models from a folder on this machine: safetensors only, without running code of the folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthinstruct.datasets import training_sets_given
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct_models.devices import best_device
from earthinstruct_models.weights import WEIGHTS, file_sha256, find_weights


@dataclass(frozen=True)
class Published:
    """A kind of model, and where it is published."""

    model_types: tuple[str, ...]  # accepted in `config.json`
    model_class: str  # of transformers
    processor_class: str  # of transformers
    weights: str  # their name in `earthinstruct_models.weights.WEIGHTS`


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A model that was loaded from a folder, with what prepares its input."""

    model: Any  # in evaluation mode, on `device`
    processor: Any
    device: str  # a torch device
    weights: list[dict[str, str]]  # the loaded files, [{name, sha256}]
    training_data: tuple[str, ...]  # as in `earthinstruct_models.weights.Weights`


def load_pretrained(
    published: Published,
    folder: str | Path | None = None,
    device: str | None = None,
    training_data: str | Sequence[str] | None = None,
) -> Pretrained:
    """Load a model of a known kind as float32, with its processor, from a folder as `save_pretrained` writes it.

    Args:
        published: the kind.
        folder: the folder of the model; None: the one in the weights folder.
        device: a torch device; None: cuda, mps or cpu, the first available.
        training_data: what it was trained on, such as `dior, imagenet`; None: unknown, unless it is in the weights
            folder.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
        EarthInstructError: `training_data` is malformed, or transformers is missing.
    """
    known = WEIGHTS[published.weights]
    trained_on = known.training_data_of(folder) if training_data is None else training_sets_given(training_data)
    place = find_weights(published.weights) if folder is None else Path(folder)
    files = weight_files(place, known.page)
    config = place / "config.json"
    try:
        found = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{config} is not the config of a model: {error}") from error
    if found not in published.model_types:
        expected = " or ".join(map(repr, published.model_types))
        raise DataError(f"{place} holds a model of type {found!r}, expected {expected}; see {known.page}")
    device = device or best_device()
    return Pretrained(
        load_model(place, published.model_class, found, dtype="float32").to(device),
        load_processor(place, published.processor_class),
        device,
        [{"name": file.name, "sha256": file_sha256(file)} for file in files],
        trained_on,
    )


def weight_files(folder: Path, source: str = "the model's repository") -> list[Path]:
    """The safetensors files of a model, whose folder is as `save_pretrained` writes it.

    Raises:
        DataError: the folder is missing or holds no model, or no safetensors.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no model (no config.json); put the files of {source} there")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder} holds no *.safetensors; other formats may run code and are not loaded; see {source}")
    return files


def load_model(folder: Path, model_class: str, kind: str, **options: Any) -> Any:
    """Load a model with all of its weights, in evaluation mode, by `from_pretrained` of its class with these options.

    Raises:
        DataError: it does not load, or lacks some of its weights.
        EarthInstructError: transformers is missing.
    """
    options |= {"use_safetensors": True, "output_loading_info": True}
    model, report = _from_pretrained(folder, model_class, f"{folder} does not load as {kind}", **options)
    missing = sorted(report["missing_keys"])
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of the model's weights, {missing[0]} first; are all its files there?"
        )
    return model.eval()


def load_processor(folder: Path, processor_class: str) -> Any:
    """Load the processor, which prepares a model's input, from the same folder.

    Raises:
        DataError: it does not load.
        EarthInstructError: transformers is missing.
    """
    return _from_pretrained(folder, processor_class, f"the processor in {folder} does not load")


def _from_pretrained(folder: Path, name: str, problem: str, **options: Any) -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise EarthInstructError(f"{folder} is loaded by transformers: pip install transformers") from error
    try:
        return getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # transformers, tokenizers and safetensors each raise their own
        raise DataError(f"{problem}: {type(error).__name__}: {str(error)[:300]}") from error
