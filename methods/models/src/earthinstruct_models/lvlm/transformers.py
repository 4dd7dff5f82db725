"""A vision-language model on this machine: Qwen2.5-VL, Qwen3-VL, or any other that transformers itself can load."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.errors import EarthInstructError
from earthinstruct_models.devices import best_device
from earthinstruct_models.fingerprints import fingerprint
from earthinstruct_models.lvlm.interface import Arrived, Images, Lvlm, LvlmError, Outcome, Reply, Schema
from earthinstruct_models.parameters import check_choice, check_integer, check_number
from earthinstruct_models.pretrained import load_model, load_processor, weight_files
from earthinstruct_models.weights import file_sha256

_EDGES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}  # the names in Qwen's image processors
# what is kept of a prompt with its image, and of the reply; estimated for 7 billion weights
_BYTES_OF_IMAGE = 2 * 2**30
_GREEDY = {"temperature": None, "top_p": None, "top_k": None}
_KEPT_SETTINGS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "repetition_penalty")
DTYPES = ("auto", "bfloat16", "float16", "float32")


class TransformersLvlm(Lvlm):
    """A model in a local folder. It decodes greedily, or samples.

    Only safetensors are read, no code of the folder is run, and nothing is downloaded. A schema is not enforced.

    Args:
        folder: as `save_pretrained` writes it, or a download of the model's repository.
        max_new_tokens: the longest reply.
        min_pixels: a smaller image is enlarged; None: the value of the folder. For models of the Qwen-VL family.
        max_pixels: a larger image is reduced; None: the value of the folder. For models of the Qwen-VL family.
        batch_size: images at once. Sampling always takes one, so that no reply depends on the other images.
        dtype: `auto` (that of the weights), `bfloat16`, `float16` or `float32`.
        device: a torch device; None: cuda, mps or cpu, the first available.
        device_map: how accelerate spreads the model over devices, such as "auto"; replaces `device`.
        temperature: of sampling; 0: greedy decoding. The seed is made from the number of the repeat, the prompt and the
            image, so that an image gets the same reply again, and another one in each repeat of a run.

    Raises:
        DataError: the folder is missing, holds another kind of model, or lacks some of its weights.
        EarthInstructError: transformers is missing, or a parameter does not fit the model.
    """

    def __init__(
        self,
        folder: Path | str,
        max_new_tokens: int = 2000,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        batch_size: int = 1,
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        temperature: float = 0.0,
    ) -> None:
        check_choice("dtype", dtype, DTYPES)
        if min_pixels is not None:
            min_pixels = check_integer("min_pixels", min_pixels)
        if max_pixels is not None:
            max_pixels = check_integer("max_pixels", max_pixels, least=min_pixels or 1)
        self.max_new_tokens = check_integer("max_new_tokens", max_new_tokens)
        self.temperature = check_number("temperature", temperature, low=0)
        batch_size = check_integer("batch_size", batch_size)
        self.batch_size = 1 if self.temperature else batch_size
        self._repeat = 0
        self.folder = Path(folder).resolve()
        self._pixels = {"min_pixels": min_pixels, "max_pixels": max_pixels}
        self._files = weight_files(self.folder)
        self._model = load_model(
            self.folder, "AutoModelForImageTextToText", "a language model that sees", dtype=dtype, device_map=device_map
        )
        self._model.generation_config = _without_limits(self._model.generation_config)
        self._processor = _processor(self.folder, self._pixels)
        if device_map is None:
            self._model.to(device or best_device())
        self._turn = threading.Lock()

    def ask_many(
        self, images: Images, text: str, schema: Schema | None = None, *, arrived: Arrived | None = None
    ) -> list[Outcome]:
        """A reply, or the error, for each image, in order; `batch_size` images at once."""
        outcomes: list[Outcome] = []
        for start in range(0, len(images), self.batch_size):
            for outcome in self._outcomes(images[start : start + self.batch_size], text):
                if arrived is not None and isinstance(outcome, Reply):
                    arrived(len(outcomes), outcome)
                outcomes.append(outcome)
        return outcomes

    def repeat(self, number: int) -> None:
        """Sample the next replies with other seeds than those of another repeat."""
        self._repeat = number

    @property
    def deterministic(self) -> bool:
        """Whether it always writes the same; a GPU may add up in another order."""
        return not self.temperature and self._model.device.type == "cpu"

    @property
    def working_memory(self) -> dict[str, int]:
        """Device -> bytes needed while it writes, about."""
        return {str(self._model.device): self.batch_size * _BYTES_OF_IMAGE}

    def describe(self) -> dict[str, Any]:
        """Parameters, device and weights."""
        return {
            "lvlm": "transformers",
            "model": self.folder.name,
            "model_type": self._model.config.model_type,
            "decoding": "sampling" if self.temperature else "greedy",
            **({"temperature": self.temperature} if self.temperature else {}),
            "repetition_penalty": self._model.generation_config.repetition_penalty,
            "max_new_tokens": self.max_new_tokens,
            **self._pixels,
            "device": str(self._model.device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "weights": [{"name": file.name, "sha256": file_sha256(file)} for file in self._files],
        }

    def _outcomes(self, images: Images, text: str) -> list[Outcome]:
        """The replies to a batch. If it fails, its halves are tried: one image or lack of memory may be the cause."""
        try:
            with self._turn:
                return list(self._generate(images, text))
        except (RuntimeError, ValueError) as error:
            if len(images) == 1:
                problem = f"{type(error).__name__}: {str(error)[:300]}"
                return [LvlmError(f"model {self.folder.name!r} fails on this image: {problem}")]
        middle = len(images) // 2
        return self._outcomes(images[:middle], text) + self._outcomes(images[middle:], text)

    def _generate(self, images: Images, text: str) -> list[Reply]:
        import torch

        started = time.perf_counter()
        inputs = self._inputs(images, text)
        how = {"temperature": self.temperature, "top_p": 1.0, "top_k": 0} if self.temperature else _GREEDY
        with torch.inference_mode(), _random_numbers_kept(self._model.device):
            torch.manual_seed(self._seed(images, text))
            written = self._model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, do_sample=bool(self.temperature), num_beams=1, **how
            )[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.perf_counter() - started) / len(images)
        sent = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._reply(tokens, n, seconds) for tokens, n in zip(written, sent, strict=True)]

    def _seed(self, images: Images, text: str) -> int:
        """The seed of a request."""
        asked = msgspec.json.encode([self._repeat, text, [fingerprint(image) for image in images]])
        return int.from_bytes(hashlib.sha256(asked).digest()[:8], "big", signed=True)

    def _inputs(self, images: Images, text: str) -> Any:
        from PIL import Image

        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return self._processor(
            text=[prompt] * len(images),
            images=[[Image.fromarray(image)] for image in images],
            padding=True,
            return_tensors="pt",
        ).to(self._model.device, dtype=self._model.dtype)

    def _reply(self, tokens: list[int], sent: int, seconds: float) -> Reply:
        """The reply in the tokens of a row after its prompt; padding at the end is dropped."""
        ends = self._model.generation_config.eos_token_id
        stops = {ends} if isinstance(ends, int) else set(ends or ())
        end = next((i for i, token in enumerate(tokens) if token in stops), None)
        return Reply(
            text=self._processor.decode(tokens[:end], skip_special_tokens=True),
            input_tokens=sent,
            output_tokens=len(tokens) if end is None else end + 1,
            seconds=seconds,
            finish="truncated" if end is None else "complete",
            model=self.folder.name,
        )


def _without_limits(found: Any) -> Any:
    """The generation settings of a folder, without what limits the next token, except the repetition penalty."""
    from transformers import GenerationConfig

    return GenerationConfig(**{name: getattr(found, name) for name in _KEPT_SETTINGS})


def _random_numbers_kept(device: Any) -> AbstractContextManager[None]:
    """In this block, seeds change no random numbers of other users of the CPU and of the model's kind of device."""
    import torch

    others = range(torch.get_device_module(device).device_count()) if device.type != "cpu" else ()
    return torch.random.fork_rng(devices=others, device_type=device.type)


def _processor(folder: Path, pixels: Mapping[str, int | None]) -> Any:
    """The processor. Prompts are padded on the left, so that every reply begins right after its prompt."""
    processor = load_processor(folder, "AutoProcessor")
    limits = {_EDGES[name]: value for name, value in pixels.items() if value is not None}
    if limits and not hasattr(processor.image_processor, "merge_size"):  # in other models these edges are lengths
        raise EarthInstructError(f"the image processor in {folder} takes neither min_pixels nor max_pixels")
    if limits:
        size = processor.image_processor.size
        processor.image_processor.size = {edge: limits.get(edge, size[edge]) for edge in _EDGES.values()}
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor
