"""Any model of the open_clip family from a local checkpoint: those of `encoders.table`, or your own."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct_models.checkpoints import load_weights, read_weights, uninitialised
from earthinstruct_models.devices import Batches, autocast, best_device
from earthinstruct_models.encoders.crops import RESIZE_MODES, ROUNDINGS, Corners, crop_corners, resized_crops
from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.parameters import check_choice, check_flag, check_integer
from earthinstruct_models.weights import file_sha256, find_weights

if TYPE_CHECKING:
    from torch import Tensor

TEMPLATE = "a satellite image of a {category}"
ACTIVATIONS = ("gelu", "quickgelu")
CROPS = ("pil", "device")
DTYPES = ("float32", "bfloat16", "float16")
_NO_CODE = {"trust_remote_code": False}  # whatever a config says
_DOWNLOADED = {  # key of a config that would be downloaded -> what to do instead
    "hf_tokenizer_name": "give its folder as tokenizer",
    "hf_model_name": "use a config of it",
}
_OF_LONGCLIP = "positional_embedding_res"
_OF_LOSS = {"logit_scale", "logit_bias"}  # embeddings do not depend on them
# constants that some releases save, and parameters of the loss
_UNUSED = ("attn_mask", "position_ids", "input_resolution", "context_length", "vocab_size", *sorted(_OF_LOSS))
_LABELS_AT_ONCE = 256
_LOG = logging.getLogger(__name__)
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


class OpenClipEncoder:
    """A CLIP that open_clip builds, with weights from a file.

    Args:
        checkpoint: a state dict or training checkpoint (`.pt`), or `.safetensors`, as `read_weights` reads it.
        architecture: an open_clip model name, such as "ViT-L-14" or "ViT-B-16-SigLIP"; None: the name of `config`.
        config: a model config file in open_clip's format, for an architecture that open_clip does not know.
        activation: `gelu` or `quickgelu`, which a state dict does not contain; None: that of the architecture.
        template: the sentence around a label; `{category}` stands for the label, and `{article}` for a or an.
        keep_underscores: underscores of a label stay; otherwise they become spaces.
        batch_size: crops at once, halved if memory runs out.
        crops: `pil`: cropped and resized by Pillow, one by one; `device`: all on the device.
        crop_rounding: how corners become whole pixels: `outward` or, as in Pillow, `nearest` (see `crop_corners`).
        preprocess: `mean`, `std` (three numbers each), `interpolation` and `resize_mode`, as open_clip names them, if
            the weights were trained with other values than open_clip has for the architecture.
        tokenizer: a folder with the tokenizer, for an architecture whose tokenizer open_clip would download (SigLIP).
        device: a torch device; None: cuda, mps or cpu, the first available.
        dtype: `float32`, or `bfloat16` or `float16` (autocast).

    Attributes:
        logit_scale: the factor of cosines in training, from the checkpoint; None if it has none.
        weight_bytes: the memory of its weights.

    Raises:
        DataError: a file is missing or malformed, or its weights do not fit the architecture.
        EarthInstructError: the template or the preprocessing is malformed, the activation does not fit the
            architecture, or something would have to be downloaded.
        UnknownNameError: no such architecture, activation, way of cropping or dtype.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        architecture: str | None = None,
        config: Path | str | None = None,
        activation: str | None = None,
        template: str = TEMPLATE,
        keep_underscores: bool = False,
        batch_size: int = 64,
        crops: str = "pil",
        crop_rounding: str = "outward",
        preprocess: Mapping[str, Any] | None = None,
        tokenizer: Path | str | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        import open_clip
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2

        check_choice("way of cropping", crops, CROPS)
        check_choice("dtype", dtype, DTYPES)
        check_choice("rounding of crops", crop_rounding, ROUNDINGS)
        check_flag("keep_underscores", keep_underscores)
        self.batch_size = check_integer("batch_size", batch_size)
        if "{category}" not in template:
            raise EarthInstructError(f"template {template!r} must contain {{category}}")
        self.name = "open_clip"
        self.checkpoint = Path(checkpoint)
        if not self.checkpoint.is_file():  # before anything is built
            raise DataError(f"CLIP checkpoint {self.checkpoint} does not exist")
        if config is not None:
            architecture = _register(Path(config))
        if architecture is None or open_clip.get_model_config(architecture) is None:
            raise UnknownNameError("architecture", str(architecture), open_clip.list_models())
        self.architecture = architecture
        self.activation = _activation(architecture, activation)
        self.template = template
        self.keep_underscores = keep_underscores
        self.crops = crops
        self.crop_rounding = crop_rounding
        self.dtype = dtype
        self._batches_of_crops = Batches(self.batch_size, "crops")
        self._batches_of_labels = Batches(_LABELS_AT_ONCE, "labels")
        self.device = torch.device(device or best_device())
        self._tokenize = _tokenizer(architecture, tokenizer)
        model, self.logit_scale = _loaded(
            self.checkpoint, architecture, self.activation, _preprocess(architecture, preprocess)
        )
        self._model = model.to(self.device)
        self.weight_bytes = sum(weights.numel() * weights.element_size() for weights in self._model.parameters())
        preparing = self._model.visual.preprocess_cfg
        self.preprocess: dict[str, Any] = {key: preparing[key] for key in ("size", *_PREPROCESS)}
        self._transform = image_transform_v2(PreprocessCfg(**preparing), is_train=False)
        if crops == "device":
            self._side = _square(self.preprocess)
        self._labels: dict[str, NDArray[np.float32]] = {}

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Unit embeddings of the enlarged boxes: (n, 4) xywh in pixels -> (n, d)."""
        import torch

        corners = crop_corners(boxes, image.shape[1], image.shape[0], self.crop_rounding)
        with torch.inference_mode(), autocast(self.device, self.dtype):
            views = self._views_on_device(image) if self.crops == "device" else self._views_by_pillow(image)

            def embed(batch: Sequence[Corners]) -> NDArray[np.float32]:
                return _unit(self._model.encode_image(views(batch)))

            parts = self._batches_of_crops(embed, corners)
        return np.concatenate([np.zeros((0, self._width), dtype=np.float32), *parts])

    def embed_labels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings of labels in the template: (m, d). Each label is embedded once.

        The end of a sentence that is longer than the model's context (CLIP: 77 tokens) has no effect, as in open_clip;
        a warning names the label.
        """
        import torch

        new = [label for label in dict.fromkeys(labels) if label not in self._labels]
        if new:
            names = new if self.keep_underscores else [label.replace("_", " ") for label in new]
            articles = ["an" if name[:1].lower() in "aeiou" else "a" for name in names]
            framed = [self.template.replace("{article}", article) for article in articles]
            sentences = [text.replace("{category}", name) for text, name in zip(framed, names, strict=True)]
            self._warn_of_cuts(new, sentences)

            def embed(batch: list[str]) -> NDArray[np.float32]:
                return _unit(self._model.encode_text(self._tokenize(batch).to(self.device)))

            with torch.inference_mode(), autocast(self.device, self.dtype):
                features = np.concatenate(self._batches_of_labels(embed, sentences))
            self._labels.update(zip(new, features, strict=True))
        return np.stack([self._labels[label] for label in labels]) if labels else np.zeros((0, self._width), np.float32)

    def _warn_of_cuts(self, labels: Sequence[str], sentences: Sequence[str]) -> None:
        """Name the labels whose sentences are cut: in a context with one more place, padding would not fill it."""
        context = int(self._tokenize.context_length)
        cut, longer = (self._tokenize(["", *sentences], context_length=n).tolist() for n in (context, context + 1))
        padding, *added = (Counter(more) - Counter(less) for less, more in zip(cut, longer, strict=True))
        for label, token in zip(labels, added, strict=True):
            if token != padding:
                message = "label %r: its sentence has more than the %d tokens that %s reads; its end has no effect"
                _LOG.warning(message, label, context, self.architecture)

    @property
    def deterministic(self) -> bool:
        """Whether a crop always gets the same embedding: on a CPU."""
        return str(self.device) == "cpu"

    def describe(self) -> dict[str, Any]:
        """Architecture, activation, template, preprocessing, device and weights."""
        return {
            "encoder": self.name,
            "architecture": self.architecture,
            "activation": self.activation,
            "template": self.template,
            "keep_underscores": self.keep_underscores,
            "crops": self.crops,
            "crop_rounding": self.crop_rounding,
            "preprocess": self.preprocess,
            **({} if self.dtype == "float32" else {"dtype": self.dtype}),
            "device": str(self.device),
            "weights": [{"name": self.checkpoint.name, "sha256": file_sha256(self.checkpoint)}],
        }

    @property
    def _width(self) -> int:
        import open_clip

        return int(open_clip.get_model_config(self.architecture)["embed_dim"])

    def _views_by_pillow(self, image: NDArray[np.uint8]) -> Callable[[Sequence[Corners]], Tensor]:
        import torch
        from PIL import Image

        picture = Image.fromarray(image)

        def views(corners: Sequence[Corners]) -> Tensor:
            with ThreadPoolExecutor(thread_name_prefix="crops") as cutting:  # Pillow resizes on every core
                return torch.stack(list(cutting.map(lambda cut: self._transform(picture.crop(cut)), corners))).to(
                    self.device
                )

        return views

    def _views_on_device(self, image: NDArray[np.uint8]) -> Callable[[Sequence[Corners]], Tensor]:
        import torch

        picture = torch.from_numpy(image.copy()).to(self.device).permute(2, 0, 1)
        if self.device.type != "cpu":
            picture = picture.float()
        mean, std = (
            torch.tensor(self.preprocess[key], device=self.device).reshape(3, 1, 1) * 255 for key in ("mean", "std")
        )
        mode, kernel = self.preprocess["resize_mode"], self.preprocess["interpolation"]
        return lambda corners: (
            (resized_crops(picture, corners, self._side, mode=mode, kernel=kernel).float() - mean) / std
        )


def named_encoder(
    name: str,
    checkpoint: Path | str | None = None,
    activation: str | None = None,
    template: str = TEMPLATE,
    keep_underscores: bool = False,
    batch_size: int = 64,
    crops: str = "pil",
    crop_rounding: str = "outward",
    tokenizer: Path | str | None = None,
    device: str | None = None,
    dtype: str = "float32",
) -> OpenClipEncoder:
    """The encoder of this name in `earthinstruct_models.encoders.table.ENCODERS`.

    By default `checkpoint` and `tokenizer` are those in the weights folder, and `activation` is that of the table. The
    other parameters are those of `OpenClipEncoder`.

    Raises:
        UnknownNameError: no such encoder.
        DataError: its weights or its tokenizer are not on this machine; says where to get them and where they go.
    """
    check_choice("encoder", name, ENCODERS)
    entry = ENCODERS[name]
    if tokenizer is None and entry.tokenizer is not None:
        tokenizer = find_weights(entry.tokenizer)
    encoder = OpenClipEncoder(
        find_weights(name) if checkpoint is None else checkpoint,
        entry.architecture,
        activation=activation or entry.activation,
        template=template,
        keep_underscores=keep_underscores,
        batch_size=batch_size,
        crops=crops,
        crop_rounding=crop_rounding,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
    )
    encoder.name = name
    return encoder


def _unit(features: Tensor) -> NDArray[np.float32]:
    """Features (n, d) of length 1, in float32."""
    from torch.nn.functional import normalize

    return normalize(features.float(), dim=-1).cpu().numpy()


def missing_of_architecture(
    part: str, architecture: str | None, config: Path | str | None, tokenizer: Path | str | None
) -> list[str]:
    """What is still needed to build the model, one line each, with the parameter of the part.

    Raises:
        UnknownNameError: no such architecture.
        DataError: the config is malformed.
    """
    import open_clip

    if config is not None:
        architecture = _register(Path(config))
    if architecture is None:
        return [
            f"architecture of the checkpoint: give -M {part}.architecture=NAME, such as ViT-L-14, or -M "
            f"{part}.config=FILE"
        ]
    content = open_clip.get_model_config(architecture)
    if content is None:
        raise UnknownNameError("architecture", architecture, open_clip.list_models())
    key = None if tokenizer is not None else _downloaded(content["text_cfg"])
    if key is None:
        return []
    return [f"{key} {content['text_cfg'][key]}: open_clip would download it; get it yourself and {_DOWNLOADED[key]}"]


def _downloaded(text: Mapping[str, Any]) -> str | None:
    """The key of a text config whose value open_clip would download; None: it would download nothing."""
    return next((key for key in _DOWNLOADED if key in text and not Path(text[key]).is_dir()), None)


def _register(config: Path) -> str:
    """Register a model config file with open_clip, under the name of the file."""
    import open_clip

    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"CLIP config {config} cannot be read: {error}") from error
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in content]
    if missing:
        raise DataError(f"CLIP config {config} has no {missing[0]!r}; expected an open_clip model config")
    open_clip.add_model_config(config)
    return config.stem


def _activation(architecture: str, activation: str | None) -> str:
    """The activation of the model."""
    import open_clip

    config = open_clip.get_model_config(architecture)
    own = "quickgelu" if config.get("quick_gelu") else "gelu"
    if activation is None:
        return own
    check_choice("activation", activation, ACTIVATIONS)
    fixed = own == "quickgelu" or "timm_model_name" in config["vision_cfg"]
    if activation != own and fixed:
        raise EarthInstructError(f"architecture {architecture} has the activation {own}, not {activation}")
    return activation


def _preprocess(architecture: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Each value as given; else the one that all published weights of the architecture share; else open_clip's."""
    import open_clip

    given = given or {}
    for key in given:
        check_choice("preprocessing", key, _PREPROCESS)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    found = [{key: open_clip.get_pretrained_cfg(architecture, tag).get(key) for key in _PREPROCESS} for tag in tags]
    shared = found[0] if found and all(other == found[0] for other in found) else {}
    return {key: value for key, value in shared.items() if value is not None} | dict(given)


def _square(preprocess: Mapping[str, Any]) -> int:
    """The side of the model's input, if cropping on the device supports it."""
    size = preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or preprocess["resize_mode"] not in RESIZE_MODES:
        raise EarthInstructError(
            f"crops='device' makes square pictures by {' or '.join(RESIZE_MODES)}; this model takes {height}x{width} "
            f"by {preprocess['resize_mode']}: use crops='pil'"
        )
    return int(height)


def _tokenizer(architecture: str, folder: Path | str | None) -> Any:
    """The tokenizer of an architecture. Nothing is downloaded."""
    import open_clip

    text = open_clip.get_model_config(architecture)["text_cfg"]
    if folder is not None:
        if not Path(folder).is_dir():
            raise DataError(f"tokenizer {folder} is not a folder")
        return _tokenizer_of_folder(folder, text)
    if (key := _downloaded(text)) is not None:
        raise EarthInstructError(
            f"open_clip would download {key} {text[key]} of architecture {architecture}: get it yourself and "
            f"{_DOWNLOADED[key]}"
        )
    if "hf_tokenizer_name" in text:
        return _tokenizer_of_folder(text["hf_tokenizer_name"], text)
    return open_clip.get_tokenizer(architecture)


def _tokenizer_of_folder(folder: Path | str, text: Mapping[str, Any]) -> Any:
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    try:
        return HFTokenizer(
            str(folder),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **(text.get("tokenizer_kwargs", {}) | _NO_CODE),
        )
    except Exception as error:  # transformers and tokenizers each raise their own
        raise DataError(f"tokenizer {folder} does not load: {type(error).__name__}: {str(error)[:300]}") from error


def _loaded(
    checkpoint: Path, architecture: str, activation: str, preprocess: Mapping[str, Any]
) -> tuple[Any, float | None]:
    """The model with every weight from the file and none left over, and the scale of its logits."""
    import open_clip

    weights = read_weights(checkpoint, "CLIP checkpoint")
    problem = f"CLIP checkpoint {checkpoint} does not load as {architecture}"
    with uninitialised(), _without_warning():
        model = open_clip.create_model(
            architecture,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=activation == "quickgelu",
            force_preprocess_cfg=dict(preprocess),
        )
    if any(key.endswith(_OF_LONGCLIP) for key in weights):
        raise DataError(
            f"{problem}: it has the text encoder of LongCLIP, with two sets of positions for 248 tokens, which "
            "open_clip does not build; take a checkpoint with CLIP's own text encoder"
        )
    load_weights(model, _converted(weights, model), problem, "check the architecture")
    scale = weights.get("logit_scale")
    return model.eval(), None if scale is None else float(scale.float().exp())


@contextmanager
def _without_warning() -> Iterator[None]:
    """Leave out open_clip's warning that a model has random weights: it gets its weights next."""
    root, unwanted = logging.getLogger(), "No pretrained weights loaded"

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(unwanted)

    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)


def _converted(weights: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Weights under the names of the model, without those that no embedding depends on."""
    import torch
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    own = model.state_dict()
    weights = convert_state_dict(model, weights)
    weights = {key: value for key, value in weights.items() if key in own or not key.endswith(_UNUSED)}
    if "positional_embedding" in weights and "positional_embedding" not in own:  # the text encoder has its own prefix
        weights = convert_to_custom_text_state_dict(weights)
    for scalar in _OF_LOSS & own.keys():
        weights[scalar] = weights.get(scalar, torch.zeros(())).reshape(own[scalar].shape)
    return weights
