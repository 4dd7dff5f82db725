"""SAM2 networks by name, built from a config, with weights from an official checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct_models.checkpoints import load_weights, read_weights, uninitialised

MODELS = tuple(f"{release}_hiera_{size}" for release in ("sam2", "sam2.1") for size in ("t", "s", "b+", "l"))

_INSTALL = 'SAM2_BUILD_CUDA=0 pip install --no-build-isolation "sam2>=1.1.0"'
_TRUSTED = "sam2.modeling."  # a config builds the classes that it names: only those of this module are allowed


def load_model(checkpoint: Path, model: str) -> Any:
    """A SAM2 image model on the CPU, in evaluation mode, with every weight from a checkpoint.

    Importing the package initialises Hydra for the whole process; Hydra is not used here.

    Args:
        checkpoint: an official checkpoint, `{"model": state dict}`, or another that `read_weights` reads.
        model: one of `MODELS`, or the path of a `.yaml` config in the package's format.

    Returns:
        A `sam2.modeling.sam2_base.SAM2Base`.

    Raises:
        DataError: a file is missing or malformed, or the weights do not fit the model.
        EarthInstructError: the package sam2 is not installed.
        UnknownNameError: no such model.
    """
    named = not model.endswith((".yaml", ".yml"))
    if named and model not in MODELS:
        raise UnknownNameError("SAM2 model", model, MODELS, "The path of a .yaml config is taken as well.")
    try:
        import sam2
    except ModuleNotFoundError as error:
        if error.name != "sam2":
            raise
        raise EarthInstructError(f"the proposer sam2 needs the package sam2: {_INSTALL}") from error
    from hydra.utils import instantiate

    config = files(sam2) / "configs" / model.partition("_")[0] / f"{model}.yaml" if named else Path(model)
    content = _read_config(Path(str(config)))
    weights = read_weights(checkpoint, "SAM2 checkpoint")
    with uninitialised():
        network = instantiate(content)
    load_weights(
        network,
        weights,
        f"SAM2 checkpoint {checkpoint} is not of {model}",
        f"choose the model it was trained as: {', '.join(MODELS)}",
    )
    return network.eval()


def _read_config(path: Path) -> Any:
    """The model part of a config, in which every class is the package's own."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, OmegaConfBaseException, UnicodeDecodeError, YAMLError) as error:
        raise DataError(f"SAM2 config {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise DataError(f"SAM2 config {path} has no 'model'; expected a config in the format of the package sam2")
    foreign = [target for target in _targets(content["model"]) if not _is_trusted(str(target))]
    if foreign:
        raise DataError(f"SAM2 config {path} names {foreign[0]!r}; only classes of {_TRUSTED}* are built")
    return content["model"]


def _is_trusted(target: str) -> bool:
    """Whether the package defines the class itself: a module of the package also has imported names."""
    module, _, name = target.rpartition(".")
    if not module.startswith(_TRUSTED):
        return False
    try:
        named = getattr(import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(named, type) and named.__module__ == module


def _targets(node: Any) -> Iterator[Any]:
    """The names of all classes in a config."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)
