"""Transformers models from a folder on this machine: safetensors only, without running code of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from earthinstruct.errors import DataError, EarthInstructError


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
