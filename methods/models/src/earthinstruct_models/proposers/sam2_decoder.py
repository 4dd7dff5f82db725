"""SAM2's mask decoder for many single points of one crop: the masks of the package's decoder, with less work.

Tokens are few and pixels are many, so an attention layer applies its weights to the tokens instead of the pixels:
(pixels @ W) @ tokens = pixels @ (W @ tokens). What does not depend on a point is computed once a crop, and masks are
upscaled only for points with a wanted mask, as matrix products. The result differs from the package's by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class PointDecoder:
    """The decoder of a SAM2 network, for single foreground points.

    Args:
        network: a `sam2.modeling.sam2_base.SAM2Base`, on its device.
    """

    def __init__(self, network: Any) -> None:
        import torch

        self._decoder = network.sam_mask_decoder
        self._prompts = network.sam_prompt_encoder
        with torch.inference_mode():
            self._positions = _rows(self._prompts.get_dense_pe())

    def shared(self, levels: Sequence[Tensor]) -> Shared:
        """What the points of a crop share, from its features: finest first, (1, channels, rows, columns) each."""
        *high, coarsest = levels
        finest, finer = [_blocks(level, 2 - i) for i, level in enumerate(high)] or (0.0, 0.0)
        first, _, _, second, _ = self._decoder.output_upscaling
        pixels = _rows(coarsest + self._prompts.no_mask_embed.weight.reshape(1, -1, 1, 1))
        rows, columns = coarsest.shape[2:]
        return Shared((rows, columns), pixels, first.bias + finer, second.bias + finest)

    def tokens(self, points: Tensor) -> Tensor:
        """The tokens of points (n, 2), x and y in the network's pixels: (n, tokens, channels)."""
        import torch

        decoder = self._decoder
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=points.device)
        of_points, _ = self._prompts(points=(points[:, None], labels), boxes=None, masks=None)
        learned = [decoder.obj_score_token.weight] if decoder.pred_obj_scores else []
        learned += [decoder.iou_token.weight, decoder.mask_tokens.weight]
        return torch.cat([torch.cat(learned).expand(len(points), -1, -1), of_points], dim=1)

    def decode(self, shared: Shared, tokens: Tensor, wanted: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The wanted masks of points, those of a point together.

        Args:
            shared: of the crop.
            tokens: of n points.
            wanted: the predicted IoUs of all masks, float32 (n, 3) -> which masks are wanted, bool (n, 3).

        Returns:
            Logits (masks, rows, columns) and predicted IoUs, float32 (masks,).
        """
        import torch

        decoder = self._decoder
        tokens, pixels = self._attended(tokens, shared.pixels)
        place = int(decoder.pred_obj_scores)  # the token of the IoUs, then one for a single mask, then three
        predicted_iou = decoder.iou_prediction_head(tokens[:, place])[:, 1:].float()
        kept = wanted(predicted_iou)
        some = kept.any(dim=1)
        mask_tokens = tokens[some, place + 2 : place + 1 + decoder.num_mask_tokens].unbind(dim=1)
        networks = decoder.output_hypernetworks_mlps[1:]
        masks = torch.stack([network(token) for network, token in zip(networks, mask_tokens, strict=True)], dim=1)
        return self._drawn(shared, pixels[some], masks)[kept[some]], predicted_iou[kept]

    def _attended(self, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and pixels after the transformer: (n, tokens, channels) and (1 -> n, pixels, channels)."""
        transformer, given = self._decoder.transformer, tokens
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                tokens = layer.self_attn(tokens, tokens, tokens)
            else:
                tokens = tokens + layer.self_attn(tokens + given, tokens + given, tokens)
            tokens = layer.norm1(tokens)
            placed = pixels + self._positions
            seen = _attend_to_pixels(layer.cross_attn_token_to_image, tokens + given, placed, pixels)
            tokens = layer.norm2(tokens + seen)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            seen = _attend_to_tokens(layer.cross_attn_image_to_token, placed, tokens + given, tokens)
            pixels = layer.norm4(pixels + seen)
        placed = pixels + self._positions
        seen = _attend_to_pixels(transformer.final_attn_token_to_image, tokens + given, placed, pixels)
        return transformer.norm_final_attn(tokens + seen), pixels

    def _drawn(self, shared: Shared, pixels: Tensor, masks: Tensor) -> Tensor:
        """Logits (n, masks, 4 x rows, 4 x columns) from pixels (n, pixels, channels) and vectors (n, masks, ...)."""
        import torch
        from torch.nn.functional import layer_norm

        first, norm, activation, second, last_activation = self._decoder.output_upscaling
        finer = _doubled(first, pixels).add_(shared.finer)
        finer = activation(layer_norm(finer, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        finest: Tensor = last_activation(_doubled(second, finer).add_(shared.finest))
        rows, columns = shared.size
        blocks = torch.unflatten(masks @ finest.flatten(1, 3).mT, 2, (rows, columns, 2, 2, 2, 2))
        return blocks.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*masks.shape[:2], 4 * rows, 4 * columns)


@dataclass(frozen=True, eq=False)
class Shared:
    """What the points of a crop share. A pixel is one of the coarsest features."""

    size: tuple[int, int]  # rows and columns
    pixels: Tensor  # with the embedding of "no mask": (1, pixels, channels)
    finer: Tensor  # 2 x 2 features a pixel, with the bias of the upscaling: (1, pixels, 4, channels)
    finest: Tensor  # 2 x 2 for each of these, the same: (1, pixels, 4, 4, channels)


def _rows(image: Tensor) -> Tensor:
    """(1, channels, rows, columns) -> (1, pixels, channels)."""
    return image.flatten(2).mT.contiguous()


def _blocks(image: Tensor, doublings: int) -> Tensor:
    """Features of a finer level by pixel: (1, channels, rows, columns) -> (1, pixels, 4, ..., channels)."""
    import torch
    from torch.nn.functional import pixel_unshuffle

    for _ in range(doublings):
        image = pixel_unshuffle(image, 2)
    blocks = torch.unflatten(image.flatten(2).mT, -1, (-1, *[4] * doublings))
    return blocks.permute(0, 1, *range(blocks.ndim - 1, 1, -1)).contiguous()


def _doubled(convolution: Any, pixels: Tensor) -> Tensor:
    """A transposed convolution without its bias, 2 x 2 pixels from each: (..., channels) -> (..., 4, channels)."""
    import torch
    from torch.nn.functional import linear

    return torch.unflatten(linear(pixels, convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)), -1, (4, -1))


def _attend_to_pixels(attention: Any, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`attention(tokens, keys, values)`. The bias of the keys moves all scores of a token alike, so it is left out."""
    import torch

    heads = attention.num_heads
    queries = attention.q_proj(tokens).unflatten(-1, (heads, -1))
    key_weight, value_weight = (
        layer.weight.unflatten(0, (heads, -1)) for layer in (attention.k_proj, attention.v_proj)
    )
    queries = torch.einsum("nthd,hdc->nhtc", queries * queries.shape[-1] ** -0.5, key_weight).flatten(1, 2)
    seen = torch.unflatten((queries @ keys.mT).softmax(dim=-1) @ values, 1, (heads, -1))
    seen = torch.einsum("nhtc,hdc->nthd", seen, value_weight).flatten(2)
    result: Tensor = attention.out_proj(seen + attention.v_proj.bias)
    return result


def _attend_to_tokens(attention: Any, pixels: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`attention(pixels, keys, values)`."""
    import torch

    heads = attention.num_heads
    keys, values = (
        layer(tokens).unflatten(-1, (heads, -1))
        for layer, tokens in ((attention.k_proj, keys), (attention.v_proj, values))
    )
    keys = keys * keys.shape[-1] ** -0.5
    query_weight, query_bias = (p.unflatten(0, (heads, -1)) for p in (attention.q_proj.weight, attention.q_proj.bias))
    bias = torch.einsum("nthd,hd->nht", keys, query_bias).flatten(1, 2)
    keys = torch.einsum("nthd,hdc->nhtc", keys, query_weight).flatten(1, 2)
    scores = keys @ pixels.mT + bias[..., None]
    weights = torch.unflatten(scores, 1, (heads, -1)).softmax(dim=2).flatten(1, 2)
    values = torch.einsum("nthd,chd->nhtc", values, attention.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
    values = values + attention.out_proj.bias / heads  # the weights of each head add up to 1
    return weights.mT @ values
