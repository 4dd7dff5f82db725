"""The decoder for single points against the decoder of the package, in float64: equal but for rounding."""

from types import SimpleNamespace

import pytest
import torch
from earthinstruct_models.proposers.sam2_decoder import PointDecoder

pytest.importorskip("sam2", reason="the package sam2 is not installed")

ROWS, COLUMNS, CHANNELS = 3, 5, 32


@pytest.fixture(params=[True, False], ids=["sam2.1", "without object scores and fine features"])
def network(request):
    """A prompt encoder and a random decoder in float64."""
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from sam2.modeling.sam.prompt_encoder import PromptEncoder
    from sam2.modeling.sam.transformer import TwoWayTransformer

    torch.manual_seed(0)
    options = {"use_high_res_features": request.param, "pred_obj_scores": request.param}
    transformer = TwoWayTransformer(depth=3, embedding_dim=CHANNELS, num_heads=4, mlp_dim=16)
    decoder = MaskDecoder(transformer_dim=CHANNELS, transformer=transformer, **options).double().eval()
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    prompts = PromptEncoder(CHANNELS, (ROWS, COLUMNS), (ROWS * 16, COLUMNS * 16), 16)
    return SimpleNamespace(sam_mask_decoder=decoder, sam_prompt_encoder=prompts)


@pytest.fixture
def levels(network):
    shapes = [(CHANNELS // 8, 4), (CHANNELS // 4, 2)] if network.sam_mask_decoder.use_high_res_features else []
    return [
        torch.randn(1, channels, side * ROWS, side * COLUMNS, dtype=torch.float64)
        for channels, side in [*shapes, (CHANNELS, 1)]
    ]


def some(predicted_iou):
    """All masks of the first point, one of the second, none of the third."""
    return torch.tensor([[True, True, True], [False, True, False], [False, False, False]])


@pytest.mark.parametrize("wanted", [some, lambda iou: iou > iou.median(), lambda iou: iou > 1e9])
@torch.inference_mode()
def test_wanted_masks_are_those_of_the_package(network, levels, wanted):
    points = torch.tensor([[3.0, 4.0], [40.5, 20.25], [79.0, 0.0]])
    sparse, dense = network.sam_prompt_encoder((points[:, None], torch.ones(3, 1)), boxes=None, masks=None)
    masks, predicted_iou, _, _ = network.sam_mask_decoder(
        image_embeddings=levels[-1],
        image_pe=network.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=True,
        high_res_features=levels[:-1],
    )
    kept = wanted(predicted_iou)
    decoder = PointDecoder(network)
    found, found_iou = decoder.decode(decoder.shared(levels), decoder.tokens(points), wanted)
    assert masks.std() > 0.1
    torch.testing.assert_close(found, masks[kept], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found_iou, predicted_iou[kept].float(), rtol=1e-6, atol=1e-6)
