"""A small CLIP, SAM2, SAM 3s and Qwen-VLs with random weights, on disk, and a server that plays a language model.

They show that the path works, not how good it is.
"""

import base64
import functools
import io
import json
import math
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SPECIAL = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
END, PAD = "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_OF_MOLMO2 = {"image_token": "<|image|>", "video_token": "<|video|>"} | {
    f"{name}_token": f"<{name}>"
    for name in ("im_patch", "im_col", "im_start", "low_res_im_start", "frame_start", "im_end", "frame_end", "im_low")
}
IDS_OF_MOLMO2 = {
    "image_patch_id": "im_patch",
    "image_start_token_id": "im_start",
    "low_res_image_start_token_id": "low_res_im_start",
    "image_end_token_id": "im_end",
    "frame_start_token_id": "frame_start",
    "frame_end_token_id": "frame_end",
}
TEMPLATE_OF_MOLMO2 = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image|>")
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


SMALL_SAM2 = {
    "image_size": 128,
    "image_encoder.trunk.embed_dim": 16,
    "image_encoder.trunk.num_heads": 1,
    "image_encoder.trunk.stages": [1, 1, 2, 1],
    "image_encoder.trunk.global_att_blocks": [3],
    "image_encoder.neck.backbone_channel_list": [128, 64, 32, 16],
    "memory_attention.num_layers": 1,
}


@pytest.fixture(scope="session")
def small_sam2():
    """What makes the package's config sam2.1_hiera_t small: name in its `model` -> value."""
    return SMALL_SAM2


@pytest.fixture
def random_sam2(small_sam2, tmp_path):
    """(checkpoint, config) of a random SAM2."""
    import sam2
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config = OmegaConf.load(files(sam2) / "configs/sam2.1/sam2.1_hiera_t.yaml")
    for name, value in small_sam2.items():
        OmegaConf.update(config, f"model.{name}", value)
    OmegaConf.save(config, tmp_path / "small.yaml")
    torch.manual_seed(0)
    torch.save({"model": instantiate(config.model).state_dict()}, tmp_path / "small.pt")
    return tmp_path / "small.pt", tmp_path / "small.yaml"


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """(config file, model with random weights)."""
    import open_clip
    import torch

    config = tmp_path_factory.mktemp("clip") / "tiny-random.json"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    return config, open_clip.create_model("tiny-random", load_weights=False)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_clip, tmp_path_factory):
    """Its weights as safetensors."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(tiny_clip[1].state_dict(), path)
    return path


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory):
    """Makes a folder with a tiny model of random weights: `qwen2.5-vl`, `qwen3-vl` or `molmo2`."""

    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp("lvlm") / kind
        (_build_molmo2 if kind == "molmo2" else functools.partial(_build_qwen, kind))(folder)
        return folder

    return make


def _tokenizer(special=SPECIAL, template=TEMPLATE):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    letters = Tokenizer(models.BPE())
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", END, PAD, *special.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    letters.train_from_iterator(['{"ship": 3}'], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token=END, pad_token=PAD, extra_special_tokens=special, chat_template=template
    )


def _build_qwen(kind, folder):
    import torch
    import transformers as hf

    tokens = _tokenizer()
    ids = {f"{name}_id": tokens.convert_tokens_to_ids(token) for name, token in SPECIAL.items()}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    text = {
        **{"vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048},
        **{"eos_token_id": tokens.eos_token_id, "bos_token_id": None, "pad_token_id": tokens.pad_token_id},
    }
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32}
    for part in (text, vision):
        part["initializer_range"] = 0.3  # so that what is written depends on the image
    torch.manual_seed(0)
    if kind == "qwen2.5-vl":
        vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}
        config = hf.Qwen2_5_VLConfig(text_config={**text, "rope_parameters": rope}, vision_config=vision, **ids)
        model = hf.Qwen2_5_VLForConditionalGeneration(config)
        processor = hf.Qwen2_5_VLProcessor(
            hf.Qwen2VLImageProcessor(), tokens, hf.Qwen2VLVideoProcessor(), chat_template=TEMPLATE
        )
    else:
        vision |= {"patch_size": 16, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
        text |= {"head_dim": 8, "rope_parameters": {**rope, "mrope_interleaved": True}}
        model = hf.Qwen3VLForConditionalGeneration(hf.Qwen3VLConfig(text_config=text, vision_config=vision, **ids))
        processor = hf.Qwen3VLProcessor(
            hf.Qwen2VLImageProcessor(patch_size=16), tokens, hf.Qwen3VLVideoProcessor(), chat_template=TEMPLATE
        )
    _save(model, processor, folder)


def _build_molmo2(folder):
    import torch
    import transformers as hf

    tokens = _tokenizer(SPECIAL_OF_MOLMO2, TEMPLATE_OF_MOLMO2)
    ids = {name: tokens.convert_tokens_to_ids(f"<{token}>") for name, token in IDS_OF_MOLMO2.items()}
    sides = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
    }
    text = {**sides, "vocab_size": len(tokens), "additional_vocab_size": 0, "num_hidden_layers": 2}
    vision = {**sides, "num_hidden_layers": 2, "image_size": [28, 28]}
    adapter = {**sides, "vision_feature_layer": [1, 0], "text_hidden_size": 32}
    torch.manual_seed(0)
    config = hf.Molmo2Config(vision_config=vision, adapter_config=adapter, text_config=text, **ids)
    processor = hf.Molmo2Processor(
        hf.Molmo2ImageProcessor(size={"height": 28, "width": 28}, overlap_margins=[0, 0], max_crops=1),
        hf.Molmo2VideoProcessor(),
        tokens,
        chat_template=TEMPLATE_OF_MOLMO2,
    )
    _save(hf.Molmo2ForConditionalGeneration(config), processor, folder)


def _save(model, processor, folder):
    tokens = processor.tokenizer
    model.generation_config.eos_token_id = tokens.eos_token_id
    model.generation_config.pad_token_id = tokens.pad_token_id
    model.generation_config.temperature = 0.7  # as the published folders have it; greedy decoding ignores it
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="session")
def clip_tokenizer():
    """Makes CLIP's own tokenizer, from the vocabulary that open_clip ships, for texts of a length."""

    @functools.cache
    def make(length):
        import gzip

        from open_clip.tokenizer import bytes_to_unicode, default_bpe
        from transformers import CLIPTokenizer

        with gzip.open(default_bpe(), "rt", encoding="utf-8") as lines:
            merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
        letters = list(bytes_to_unicode().values())
        words = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
        vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
        return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=length)

    return make


def _sam3(folder, prefix, text, clip_tokenizer):
    import torch
    import transformers

    torch.set_num_threads(1)  # for models this small, several wait for each other
    torch.manual_seed(2)
    heads = {"num_attention_heads": 2}
    part = {"hidden_size": 32, **heads}
    layers = part | {"num_layers": 1, "intermediate_size": 32, "dropout": 0.0}
    vit = {
        "model_type": "sam3_vit_model",
        **{"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "image_size": 112, "patch_size": 14},
        **{"window_size": 4, "global_attn_indexes": [0], "pretrain_image_size": 56, **heads},
    }
    small = {"vocab_size": 49408, "hidden_size": 16, "intermediate_size": 16, "projection_dim": 16, **heads}
    config = getattr(transformers, f"{prefix}Config")(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": vit,
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=small | text,
        geometry_encoder_config=layers,
        detr_encoder_config=layers,
        detr_decoder_config=layers | {"num_queries": 9},
        mask_decoder_config=part | {"num_upsampling_stages": 3},
    )
    getattr(transformers, f"{prefix}Model")(config).save_pretrained(folder)
    images = transformers.Sam3ImageProcessor(size={"height": 112, "width": 112})
    transformers.Sam3Processor(images, clip_tokenizer(32)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sam3_weights(tmp_path_factory, clip_tokenizer):
    """The folder of a tiny SAM 3."""
    text = {"model_type": "clip_text_model", "num_hidden_layers": 1, "max_position_embeddings": 32}
    return _sam3(tmp_path_factory.mktemp("sam3"), "Sam3", text, clip_tokenizer)


@pytest.fixture(scope="session")
def sam3_litetext_weights(tmp_path_factory, clip_tokenizer):
    """The folder of a tiny SAM3-LiteText, with more positions than a phrase has tokens, as in a MobileCLIP."""
    text = {"num_hidden_layers": 3, "max_position_embeddings": 77}
    return _sam3(tmp_path_factory.mktemp("sam3-litetext"), "Sam3LiteText", text, clip_tokenizer)


@pytest.fixture
def like_apple():
    """A context in which the CPU is a device without float64, like Apple's GPUs, until a tensor leaves it by `cpu()`.

    It counts the tensors that came onto the device: `like_apple()` yields a list with their types.
    """
    import contextlib

    import torch
    from torch.overrides import TorchFunctionMode

    class OnDevice(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is torch.Tensor.cpu:
                return args[0].as_subclass(torch.Tensor)
            result = super().__torch_function__(function, types, args, kwargs)
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, cls) and tensor.dtype == torch.float64:
                    raise TypeError(f"{function}: the device has no float64")
            return result

    class Moving(TorchFunctionMode):
        def __init__(self, seen):
            super().__init__()
            self.seen = seen

        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            result = function(*args, **kwargs)
            moved = function is torch.Tensor.to and any(isinstance(a, str | torch.device) for a in args)
            if (moved or "device" in kwargs) and type(result) is torch.Tensor:
                self.seen.append(result.dtype)
                if result.dtype == torch.float64:
                    raise TypeError(f"{function}: the device has no float64")
                return result.as_subclass(OnDevice)
            return result

    @contextlib.contextmanager
    def enter():
        seen = []
        with Moving(seen):
            yield seen

    return enter


class _Header:
    """Stands for safetensors' `safe_open`: the names and shapes of a file, and one number for each weight."""

    def __init__(self, path, **_):
        with Path(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self._entries = json.loads(file.read(length))
        self.metadata = lambda: self._entries.get("__metadata__")

    def keys(self):
        return [name for name in self._entries if name != "__metadata__"]

    def get_slice(self, name):
        return _Slice(self._entries[name])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class _Slice:
    def __init__(self, entry):
        self._entry = entry

    def get_dtype(self):
        return self._entry["dtype"]

    def get_shape(self):
        return self._entry["shape"]

    def __getitem__(self, _):
        import torch

        return torch.full((), 0.5, dtype={"BF16": torch.bfloat16, "F32": torch.float32}[self.get_dtype()]).expand(
            self.get_shape()
        )


@pytest.fixture
def write_published(monkeypatch):
    """Writes a folder of transformers with these names and shapes; files have a header only, and take no memory.

    Like published ones: two shards and their index. Returns the number of tensors and their bytes.
    """
    monkeypatch.setattr("transformers.modeling_utils.safe_open", _Header)

    def write(folder, config, shapes, dtype):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        names, places, sizes = sorted(shapes), {}, []
        for shard, of_shard in enumerate((names[::2], names[1::2]), start=1):
            entries, end = {"__metadata__": {"format": "pt"}}, 0
            for name in of_shard:
                size = math.prod(shapes[name]) * {"BF16": 2, "F32": 4}[dtype]
                entries[name] = {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": [end, end + size]}
                end += size
            file = f"model-{shard:05}-of-00002.safetensors"
            header = json.dumps(entries).encode()
            (folder / file).write_bytes(struct.pack("<Q", len(header)) + header)
            places |= dict.fromkeys(of_shard, file)
            sizes.append(end)
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return len(names), sum(sizes)

    return write


class _Chat(BaseHTTPRequestHandler):
    """Answers a chat completion with what the server's `answer` says of its image and text."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        parts = {part["type"]: part for part in asked["messages"][0]["content"]}
        data = base64.b64decode(parts["image_url"]["image_url"]["url"].partition(",")[2])
        image = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None}}
        answer = self.server.answer(image, parts["text"]["text"])
        if not isinstance(answer, str):
            answer, choice["finish_reason"] = answer
        choice["message"]["content"] = answer
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        content = {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny"}
        body = json.dumps({**content, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def lvlm_server(monkeypatch):
    """An OpenAI-compatible server; `answer(image, text)` gives a text, or a text and how it finished.

    The requests are in `asked`.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chat) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield server
        server.shutdown()
        thread.join()
