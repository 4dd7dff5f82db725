"""SAM2's automatic masks: the algorithm of the package's own generator, with less work.

On a GPU, crops of several images go through the image encoder together. Only masks with a high predicted IoU are drawn
(`sam2_decoder`). They stay at the decoder's resolution, on the device, while they are filtered; only their stability
and boxes come from enlarged masks, a few at a time. The remaining masks are enlarged again and leave the device as run
boundaries, which a separate thread encodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import MaskRuns
from earthinstruct_models.devices import Batches, as_doubles, autocast, best_device, best_dtype
from earthinstruct_models.parameters import check_choice, check_flag, check_integer, check_number
from earthinstruct_models.proposers.holes import column_masks, fill_holes
from earthinstruct_models.proposers.sam2_decoder import PointDecoder, Shared
from earthinstruct_models.proposers.sam2_model import load_model
from earthinstruct_models.weights import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("float32", "bfloat16")
MATMUL_PRECISIONS = ("highest", "high", "medium")

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_LOW_RES_LIMIT = 32.0  # bound of the logits that are returned to the decoder
_AT_ONCE = {"points_per_batch": (2, 128), "crops_per_batch": (1, 16)}  # on a CPU, as its cache holds few, and elsewhere
_PIXELS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 27}  # of enlarged masks; on a CPU they fit its cache
_PIXELS_ELSEWHERE = 1 << 25
# memory that the image encoder needs for a crop, and the decoder for a point: measured for hiera-large in float32, see
# docs/performance.md
_BYTES_OF_CROP = int(7.3 * 2**30 / 16)
_BYTES_OF_POINT = int(7.3 * 2**30 / 256)


@dataclass(eq=False)
class Sam2Proposer:
    """Proposes what SAM2 segments from a grid of points, in the image and in crops of it.

    Parameters have the names and meaning of `sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator`; the defaults
    are those of InstructSAM. As in the generator, a threshold of 0 or less filters nothing. An image without surviving
    masks has no proposals.

    Args:
        checkpoint: an official checkpoint (`.pt`), SAM 2.0 or 2.1, any size.
        model: the model of the checkpoint: `sam2_hiera_l`, `sam2.1_hiera_t`, ... (see `MODELS`), or a `.yaml` config.
        device: a torch device; None: cuda, mps or cpu, the first available.
        dtype: `float32`, or `bfloat16` for encoder and decoder (autocast); None: bfloat16 on a CUDA GPU that has it.
        float32_matmul_precision: of products in float32, for the whole process while proposing: `highest`, `high` or
            `medium`, as `torch.set_float32_matmul_precision` defines them; None: as the process has it.
        points_per_side: points along each side of the grid.
        points_per_batch: points decoded at once, halved if memory runs out; changes memory and speed only. None: 2 on a
            CPU, 128 elsewhere.
        crops_per_batch: crops encoded at once, of one or several images; the same. None: 1 on a CPU, 16 elsewhere.
        pred_iou_thresh: masks with a lower predicted IoU are dropped.
        stability_score_thresh: masks with a lower stability are dropped; it falls as the logits' threshold moves.
        stability_score_offset: how far the threshold is moved up and down, logits.
        box_nms_thresh: box IoU above which the lower rated of two masks of a crop is dropped.
        crop_n_layers: layers of crops, the i-th with 2**i crops a side; 0: only the image.
        crop_nms_thresh: box IoU above which, of two masks of different crops, that of the larger crop is dropped.
        crop_overlap_ratio: overlap of crops, as a share of the shorter side of the image.
        crop_n_points_downscale_factor: divides points_per_side from layer to layer.
        use_m2m: refine each mask by a second pass through the decoder.
        fill_holes: fill background that a mask encloses.
        max_proposals: most proposals; the best by the mean of predicted IoU and stability are kept.

    Raises:
        DataError: a file is missing or malformed, or the weights do not fit the model.
        EarthInstructError: a parameter is out of range, or the package sam2 is not installed.
        UnknownNameError: no such model, dtype or precision.
    """

    checkpoint: Path | str
    model: str = "sam2_hiera_l"
    device: str | None = None
    dtype: str | None = None
    float32_matmul_precision: str | None = None
    _: KW_ONLY
    points_per_side: int = 24
    points_per_batch: int | None = None
    crops_per_batch: int | None = None
    pred_iou_thresh: float = 0.75
    stability_score_thresh: float = 0.75
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.5
    crop_n_layers: int = 1
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    use_m2m: bool = False
    fill_holes: bool = True
    max_proposals: int = 200

    def __post_init__(self) -> None:
        self._check_parameters()
        if self.dtype is not None:
            check_choice("dtype", self.dtype, DTYPES)
        if self.float32_matmul_precision is not None:
            check_choice("precision", self.float32_matmul_precision, MATMUL_PRECISIONS)
        network = load_model(Path(self.checkpoint), self.model)

        import torch
        from sam2.utils.amg import build_all_layer_point_grids

        self._device = torch.device(self.device or best_device())
        self._dtype = self.dtype or best_dtype(self._device)
        self._batches_of_points, self._batches_of_crops = (
            Batches(getattr(self, name) or sizes[self._device.type != "cpu"], name.partition("_")[0])
            for name, sizes in _AT_ONCE.items()
        )
        self._network = network.to(self._device)
        self._decoder = PointDecoder(self._network)
        self._grids: list[NDArray[np.float64]] = build_all_layer_point_grids(
            self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
        )

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Regions of one RGB image, uint8 (height, width, 3), best first, with masks and scores.

        As in the official generator, a box goes from the first to the last pixel of the mask before holes are filled,
        so it is one pixel narrower and lower than the mask. A score is the mean of predicted IoU and stability.
        """
        return self.propose_batch([image])[0]

    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Proposals]:
        """The regions of several images of any sizes; equal to those of single images, up to rounding."""
        import torch

        precision = matmul_precision(self.float32_matmul_precision)
        with torch.inference_mode(), precision, ThreadPoolExecutor(1, "masks") as encoding:
            crops = [crop for i, image in enumerate(images) for crop in self._crops(image, i)]
            by_image = groupby(self._regions(crops), key=lambda regions: regions.crop.image)
            # filled and encoded while the next image is segmented
            begun = [encoding.submit(self._encoded, *self._best(list(regions))) for _, regions in by_image]
            return [proposals.result() for proposals in begun]

    @property
    def working_memory(self) -> dict[str, int]:
        """Device -> bytes needed while it works, about: crops are encoded, then points are decoded."""
        needed = max(self._batches_of_crops.size * _BYTES_OF_CROP, self._batches_of_points.size * _BYTES_OF_POINT)
        return {str(self._device): needed}

    def describe(self) -> dict[str, Any]:
        """Model, device, parameters and weights."""
        checkpoint = Path(self.checkpoint)
        return {
            "proposer": "sam2",
            "model": Path(self.model).name,
            "device": str(self._device),
            "dtype": self._dtype,
            "float32_matmul_precision": self.float32_matmul_precision,
            **self._tuning,
            "weights": [{"name": checkpoint.name, "sha256": file_sha256(checkpoint)}],
        }

    @property
    def _tuning(self) -> dict[str, Any]:
        """The parameters of the algorithm."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.kw_only}

    def _check_parameters(self) -> None:
        for name, value in self._tuning.items():
            if name in _AT_ONCE and value is None:
                continue
            default = getattr(Sam2Proposer, name)
            if isinstance(default, bool):
                check_flag(name, value)
            elif isinstance(default, float):
                setattr(self, name, check_number(name, value))
            else:
                setattr(self, name, check_integer(name, value, least=int(name != "crop_n_layers")))
        if not 0 <= self.crop_overlap_ratio < 1:
            raise EarthInstructError(f"crop_overlap_ratio must be in [0, 1), got {self.crop_overlap_ratio!r}")
        if self.points_per_side < self.crop_n_points_downscale_factor**self.crop_n_layers:
            raise EarthInstructError(
                f"{self.points_per_side} points_per_side divided by {self.crop_n_points_downscale_factor} in each of "
                f"{self.crop_n_layers} crop layers leave no points; lower crop_n_points_downscale_factor"
            )

    def _crops(self, image: NDArray[np.uint8], index: int) -> list[_Crop]:
        """The image and its crops, without crops that are empty because the image has too few pixels."""
        import torch
        from sam2.utils.amg import generate_crop_boxes

        height, width = image.shape[:2]
        pixels = torch.tensor(image, device=self._device).permute(2, 0, 1)
        boxes, layers = generate_crop_boxes((height, width), self.crop_n_layers, self.crop_overlap_ratio)
        return [
            _Crop(index, (height, width), (x0, y0, x1, y1), layer, pixels[:, y0:y1, x0:x1])
            for (x0, y0, x1, y1), layer in zip(boxes, layers, strict=True)
            if x1 > x0 and y1 > y0
        ]

    def _regions(self, crops: list[_Crop]) -> Iterator[_Regions]:
        """The regions of each crop, in order."""
        at_once = self._batches_of_crops.size
        for start in range(0, len(crops), at_once):
            batch = crops[start : start + at_once]
            encoded = self._batches_of_crops(self._encode, [crop.pixels for crop in batch])
            levels = ([level[i : i + 1] for level in part] for part in encoded for i in range(len(part[0])))
            for crop, of_crop in zip(batch, levels, strict=True):
                yield self._crop_regions(crop, of_crop)

    def _encode(self, crops: list[Tensor]) -> list[Tensor]:
        """The features of crops, uint8 (3, h, w): finest level first, (n, channels, rows, columns) each."""
        import torch
        from torchvision.transforms.functional import normalize, resize

        side = [self._network.image_size] * 2
        views = [normalize(resize(crop.contiguous().float().div(255), side), _MEAN, _STD) for crop in crops]
        with autocast(self._device, self._dtype):
            *finer, coarsest = self._network.forward_image(torch.stack(views))["backbone_fpn"][
                -self._network.num_feature_levels :
            ]
            if self._network.directly_add_no_mem_embed:
                coarsest = coarsest + self._network.no_mem_embed.reshape(1, -1, 1, 1)
        return [*finer, coarsest]

    def _crop_regions(self, crop: _Crop, levels: list[Tensor]) -> _Regions:
        """The masks of one crop that pass the filters, without duplicates."""
        import torch
        from torchvision.ops import nms

        # divided by the sides again, in single precision: the official generator rounds here
        absolute = torch.tensor(self._grids[crop.layer] * crop.sides, dtype=torch.float32, device=self._device)
        sides = torch.tensor(crop.sides, dtype=torch.float32, device=self._device)
        points = absolute / sides * self._network.image_size
        shared = self._decoder.shared(levels)
        regions = _Regions.joined(
            self._batches_of_points(lambda batch: self._filtered(crop, *self._decode(shared, levels, batch)), points)
        )
        return regions.take(nms(regions.boxes.float(), regions.predicted_iou, self.box_nms_thresh))

    def _decode(self, shared: Shared, levels: list[Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
        """The masks of points (x, y) with a high predicted IoU: logits (n, rows, columns), predicted IoUs (n,)."""
        import torch

        tokens = self._decoder.tokens(points)  # without autocast, which would move the points
        with autocast(self._device, self._dtype):
            logits, predicted_iou = self._decoder.decode(shared, tokens, _every if self.use_m2m else self._is_good)
        if self.use_m2m:
            at_once = len(points)
            points = points.repeat_interleave(len(logits) // at_once, dim=0)
            masks = logits[:, None].float().clamp(-_LOW_RES_LIMIT, _LOW_RES_LIMIT)
            refined = [
                self._refined(levels, points[start : start + at_once], masks[start : start + at_once])
                for start in range(0, len(points), at_once)
            ]
            logits, predicted_iou = (torch.cat(parts) for parts in zip(*refined, strict=True))
            good = self._is_good(predicted_iou)
            logits, predicted_iou = logits[good], predicted_iou[good]
        return logits, predicted_iou

    def _is_good(self, predicted_iou: Tensor) -> Tensor:
        """Whether the predicted IoU of each mask is high enough."""
        return predicted_iou > self.pred_iou_thresh if self.pred_iou_thresh > 0 else _every(predicted_iou)

    def _refined(self, levels: list[Tensor], points: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (n, 1, rows, columns) after a second pass, by the decoder of the package: logits, predicted IoUs."""
        import torch

        labels = torch.ones(len(points), 1, dtype=torch.int32, device=self._device)
        prompts = self._network.sam_prompt_encoder
        sparse, dense = prompts(points=(points[:, None], labels), boxes=None, masks=masks)
        image_pe = prompts.get_dense_pe()
        with autocast(self._device, self._dtype):
            logits, predicted_iou, _, _ = self._network.sam_mask_decoder(
                image_embeddings=levels[-1],
                image_pe=image_pe,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
                repeat_image=True,
                high_res_features=levels[:-1],
            )
        return logits[:, 0], predicted_iou[:, 0].float()

    def _filtered(self, crop: _Crop, logits: Tensor, predicted_iou: Tensor) -> _Regions:
        """The masks with a high stability that the border of the crop does not cut off."""
        from sam2.utils.amg import is_box_near_crop_edge

        stability, boxes = self._measured(crop, logits)
        regions = _Regions(crop, logits, boxes, predicted_iou, stability)
        height, width = crop.image_size
        good = ~is_box_near_crop_edge(boxes, crop.box, [0, 0, width, height])
        if self.stability_score_thresh > 0:
            good &= stability >= self.stability_score_thresh
        return regions.take(good)

    def _measured(self, crop: _Crop, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Stability (n,) and corners (n, 4), in the crop's pixels, of masks enlarged to the crop."""
        import torch
        from sam2.utils.amg import calculate_stability_score

        stability, boxes = [logits.new_zeros(0, dtype=torch.float32)], [logits.new_zeros((0, 4), dtype=torch.int64)]
        for enlarged in self._enlarged(crop, logits):
            stability.append(calculate_stability_score(enlarged, 0.0, self.stability_score_offset))
            boxes.append(_corners(enlarged.amax(dim=1) > 0, enlarged.amax(dim=2) > 0))
        return torch.cat(stability), torch.cat(boxes)

    def _enlarged(self, crop: _Crop, logits: Tensor) -> Iterator[Tensor]:
        """Logits enlarged to the crop, a few masks at a time: float32 (masks, height, width)."""
        from torch.nn.functional import interpolate

        width, height = crop.sides
        at_once = max(1, _PIXELS_AT_ONCE.get(self._device.type, _PIXELS_ELSEWHERE) // (height * width))
        for start in range(0, len(logits), at_once):
            part = logits[None, start : start + at_once].float()
            yield interpolate(part, (height, width), mode="bilinear", align_corners=False)[0]

    def _encoded(self, boxes: NDArray[np.float64], masks: MaskRuns, scores: NDArray[np.float64]) -> Proposals:
        return Proposals(boxes, tuple((fill_holes(masks) if self.fill_holes else masks).encode()), scores)

    def _best(self, found: list[_Regions]) -> tuple[NDArray[np.float64], MaskRuns, NDArray[np.float64]]:
        """Boxes, masks and scores of the best regions of one image. Of duplicates, that of the smaller crop is kept."""
        import torch
        from torchvision.ops import nms

        corners = torch.cat([regions.boxes + regions.boxes.new_tensor(regions.crop.box[:2] * 2) for regions in found])
        kept = torch.arange(len(corners), device=self._device)
        if self.crop_n_layers > 0:
            area = torch.cat(
                [regions.boxes.new_full((len(regions),), math.prod(regions.crop.sides)) for regions in found]
            )
            kept = nms(corners.float(), 1 / area, self.crop_nms_thresh)
        score = np.mean(
            [
                as_doubles(torch.cat([getattr(regions, name) for regions in found])[kept])
                for name in ("predicted_iou", "stability")
            ],
            axis=0,
        )
        score = np.nan_to_num(score)  # the stability of an empty mask is undefined
        best = np.argsort(-score, kind="stable")[: self.max_proposals]
        kept = kept[torch.tensor(best, device=self._device)]
        boxes = corners[kept].cpu().numpy().astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        return boxes, self._masks(found, kept.cpu().numpy()), score[best]

    def _masks(self, found: list[_Regions], chosen: NDArray[np.int64]) -> MaskRuns:
        """The masks of the chosen regions of one image, at its size, in the given order."""
        import torch

        owners, starts, ends = [], [], []
        first = 0
        for regions in found:
            own = np.flatnonzero((chosen >= first) & (chosen < first + len(regions)))
            logits = regions.logits[torch.tensor(chosen[own] - first, device=self._device)]
            mask, start, end = self._runs(regions.crop, logits)
            owners.append(own[mask])
            starts.append(start)
            ends.append(end)
            first += len(regions)
        size = found[0].crop.image_size
        return column_masks(np.concatenate(owners), np.concatenate(starts), np.concatenate(ends), len(chosen), size)

    def _runs(self, crop: _Crop, logits: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Mask, first and one past the last pixel of the runs in each column, in pixels of the image."""
        from torch.nn.functional import pad

        changes = [np.zeros((0, 3), dtype=np.int64)]
        before = 0
        for enlarged in self._enlarged(crop, logits):
            columns = pad((enlarged > 0).transpose(1, 2), (1, 1))
            change = (columns[..., 1:] != columns[..., :-1]).nonzero().cpu().numpy()
            change[:, 0] += before
            changes.append(change)
            before += len(enlarged)
        mask, column, row = np.concatenate(changes).T
        height, (x0, y0, _, _) = crop.image_size[0], crop.box
        place = (x0 + column) * height + y0 + row
        return mask[::2], place[::2], place[1::2]


@dataclass(frozen=True, eq=False)
class _Crop:
    """A crop of an image."""

    image: int  # index of the image
    image_size: tuple[int, int]  # (height, width), pixels
    box: tuple[int, int, int, int]  # corners (left, top, right, bottom) in the image
    layer: int  # crop layer; 0: the whole image
    pixels: Tensor  # uint8 (3, height, width), on the device

    @property
    def sides(self) -> tuple[int, int]:
        """(width, height)."""
        x0, y0, x1, y1 = self.box
        return x1 - x0, y1 - y0


@dataclass(frozen=True, eq=False)
class _Regions:
    """n masks of one crop, on the device."""

    crop: _Crop
    logits: Tensor  # (n, rows, columns), at the decoder's resolution
    boxes: Tensor  # int64 (n, 4), corners in the crop, of the first and the last pixel
    predicted_iou: Tensor  # float32 (n,)
    stability: Tensor  # float32 (n,)

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, which: Tensor) -> _Regions:
        """The regions at indices, or where a mask is true."""
        return _Regions(self.crop, *(getattr(self, name)[which] for name in _TENSORS))

    @staticmethod
    def joined(parts: Sequence[_Regions]) -> _Regions:
        """Join regions of one crop."""
        import torch

        return _Regions(parts[0].crop, *(torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS))


_TENSORS = ("logits", "boxes", "predicted_iou", "stability")


def _corners(columns: Tensor, rows: Tensor) -> Tensor:
    """First and last true column and row: bool (n, width), (n, height) -> int64 (n, 4); zeros where none is true."""
    import torch

    first = [occupied.int().argmax(dim=1) for occupied in (columns, rows)]
    last = [occupied.shape[1] - 1 - occupied.flip(1).int().argmax(dim=1) for occupied in (columns, rows)]
    return torch.stack([*first, *last], dim=1) * columns.any(dim=1, keepdim=True)


def _every(predicted_iou: Tensor) -> Tensor:
    """True for every mask."""
    import torch

    return torch.ones_like(predicted_iou, dtype=torch.bool)


@contextmanager
def matmul_precision(wanted: str | None) -> Iterator[None]:
    """The precision of products in float32, of the whole process, for a while; None: unchanged."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(wanted or before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
