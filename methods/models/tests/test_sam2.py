"""The sam2 proposer against the package's own generator, on the same random weights and the same images.

Both sum in different orders, so in float32 a pixel with a logit of almost zero may differ. In float64 none does.
"""

import copy
import hashlib
import subprocess
import sys
import threading
from fractions import Fraction
from importlib.resources import files

import numpy as np
import pytest
import torch
from earthinstruct_models.proposers.sam2 import Sam2Proposer
from earthinstruct_models.proposers.sam2_model import MODELS, load_model
from scipy import ndimage

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.regions import decode_mask, encode_masks

pytest.importorskip("sam2", reason="the package sam2 is not installed")

NAMED = "configs/sam2.1/sam2.1_hiera_t.yaml"
GRID = {"points_per_side": 5, "points_per_batch": 10}  # a batch that is not full, and one that is
FILTERS = {  # with these weights each of them drops some masks and leaves some
    "pred_iou_thresh": 0.7,
    "stability_score_thresh": 0.5,
    "stability_score_offset": 0.1,
    "box_nms_thresh": 0.8,
    "crop_nms_thresh": 0.7,
}


def build(config, changed, seed=3, shift=-2):
    """A SAM2 built by the package, its random weights scaled until masks differ between points."""
    from sam2.build_sam import build_sam2

    overrides = [f"++model.{name}={value}".replace(" ", "") for name, value in changed.items()]
    torch.manual_seed(seed)
    built = build_sam2(config, None, device="cpu", apply_postprocessing=False, hydra_overrides_extra=overrides)
    decoder = built.sam_mask_decoder
    with torch.no_grad():
        for part in (decoder.transformer, decoder.output_hypernetworks_mlps, decoder.iou_prediction_head):
            for weight in part.parameters():
                weight *= 3 if weight.ndim > 1 else 1
        for mlp in decoder.output_hypernetworks_mlps:
            mlp.layers[-1].bias[0] += shift  # masks that cover a part of the image only
        decoder.output_upscaling[3].bias[0] += 3
    return built


def save(network, config, changed, folder):
    """(checkpoint in the official format, config) of a network."""
    import sam2
    from omegaconf import OmegaConf

    torch.save({"model": network.state_dict()}, folder / "small.pt")
    content = OmegaConf.load(files(sam2) / config)
    for name, value in changed.items():
        OmegaConf.update(content, f"model.{name}", value)
    OmegaConf.save(content, folder / "small.yaml")
    return folder / "small.pt", str(folder / "small.yaml")


def in_float64(network):
    """Changes a network to float64, but for the positions, which the package computes in float32."""
    encode = network.forward_image
    network.double().forward_image = lambda image: encode(image.double())
    network.sam_prompt_encoder.pe_layer.float()
    network.sam_mask_decoder.iou_prediction_head.register_forward_hook(lambda _module, _tokens, iou: iou.float())
    return network


@pytest.fixture(scope="module")
def network(small_sam2):
    """A small SAM2."""
    return build(NAMED, small_sam2)


@pytest.fixture(scope="module")
def exact_network(network):
    return in_float64(copy.deepcopy(network))


def propose_exactly(proposer, image):
    in_float64(proposer._network)
    return proposer.propose(image)


@pytest.fixture(scope="module")
def weights(network, small_sam2, tmp_path_factory):
    """(checkpoint, config) of the small SAM2."""
    return save(network, NAMED, small_sam2, tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def proposer(weights):
    """What makes proposers with the small SAM2."""

    def make(**parameters):
        return Sam2Proposer(*weights, "cpu", **{**GRID, **FILTERS, **parameters})

    return make


def official(network, image, **parameters):
    """The records of the package's generator, ordered and counted as the paper does."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    generator = SAM2AutomaticMaskGenerator(network, output_mode="coco_rle", **{**GRID, **FILTERS, **parameters})
    side = network.image_size
    generator.predictor._bb_feat_sizes = [(side // step, side // step) for step in (4, 8, 16)]  # it knows 1024 only
    records = generator.generate(image)
    return sorted(records, key=lambda record: -np.mean([record["predicted_iou"], record["stability_score"]]))[:200]


def picture(height, width, seed=0, gray=False):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)).astype(np.uint8)
    image = ndimage.zoom(coarse, (8, 8, 1), order=1)[:height, :width]
    return np.ascontiguousarray(image[..., :1].repeat(3, axis=2) if gray else image)


PICTURES = {
    "wide": picture(96, 150),
    "tall": picture(200, 90, seed=1),
    "gray": picture(128, 128, seed=2, gray=True),
    "tiny": picture(7, 5, seed=3),
}


def assert_same(proposals, records):
    np.testing.assert_array_equal(proposals.boxes, [record["bbox"] for record in records])
    assert [dict(mask) for mask in proposals.masks] == [
        {"size": tuple(record["segmentation"]["size"]), "counts": record["segmentation"]["counts"]}
        for record in records
    ]
    scores = [np.mean([record["predicted_iou"], record["stability_score"]]) for record in records]
    np.testing.assert_allclose(proposals.scores, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("name", PICTURES)
def test_proposals_are_those_of_the_official_generator(exact_network, proposer, name, layers):
    image = PICTURES[name]
    records = official(exact_network, image, crop_n_layers=layers)
    assert records
    for crops_per_batch in (1, 16) if name == "wide" and layers else (16,):
        some = proposer(crop_n_layers=layers, crops_per_batch=crops_per_batch, fill_holes=False)
        assert_same(propose_exactly(some, image), records)


def test_in_float32_hardly_a_pixel_differs(network, proposer):
    records = official(network, PICTURES["wide"], crop_n_layers=0)
    proposals = proposer(crop_n_layers=0, fill_holes=False).propose(PICTURES["wide"])
    theirs = np.stack([decode_mask({**record["segmentation"], "size": (96, 150)}) for record in records])
    ours = np.stack([decode_mask(mask) for mask in proposals.masks])
    assert (ours != theirs).mean() < 1e-4
    assert 0.05 < ours.mean() < 0.95


@pytest.mark.parametrize("size", ["t", "s", "b+", "l"])
def test_every_size_proposes_as_the_official_generator(small_sam2, tmp_path, size):
    of_size = ("image_encoder.trunk.stages", "image_encoder.trunk.global_att_blocks", "image_encoder.trunk.num_heads")
    narrow = {name: value for name, value in small_sam2.items() if name not in of_size}
    config = f"configs/sam2/sam2_hiera_{size}.yaml"
    network = build(config, narrow, seed=2, shift=-1)
    files = save(network, config, narrow, tmp_path)
    in_float64(network)
    filters = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.05, "box_nms_thresh": 1.0}
    parameters = {**filters, "crop_n_layers": 0, "points_per_side": 3}
    predicted_iou = sorted(record["predicted_iou"] for record in official(network, PICTURES["wide"], **parameters))
    middle = len(predicted_iou) // 2
    parameters["pred_iou_thresh"] = float(np.mean(predicted_iou[middle : middle + 2]))  # no mask is at the threshold
    records = official(network, PICTURES["wide"], **parameters)
    assert records
    proposer = Sam2Proposer(*files, "cpu", **{**GRID, **FILTERS, **parameters, "fill_holes": False})
    assert_same(propose_exactly(proposer, PICTURES["wide"]), records)


@pytest.fixture(scope="module")
def filtered(proposer):
    """How many proposals there are for two pictures, without and with crops."""
    return [counted(proposer(crop_n_layers=layers)) for layers in (0, 1)]


def counted(proposer):
    return sum(len(proposer.propose(PICTURES[name])) for name in ("gray", "tiny"))


@pytest.mark.parametrize(
    ("name", "value", "layers"),
    [
        ("pred_iou_thresh", 0.0, 1),
        ("stability_score_thresh", 0.0, 1),
        ("box_nms_thresh", 1.0, 0),
        ("crop_nms_thresh", 1.0, 1),
    ],
)
def test_every_filter_drops_something_here(proposer, filtered, name, value, layers):
    assert 0 < filtered[layers] < counted(proposer(crop_n_layers=layers, **{name: value}))


def test_refined_masks_are_those_of_the_official_generator(network, proposer):
    options = {"use_m2m": True, "crop_n_layers": 0, "points_per_side": 4, "pred_iou_thresh": 0.015}
    records = official(network, PICTURES["wide"], **options)
    assert records
    assert_same(proposer(fill_holes=False, **options).propose(PICTURES["wide"]), records)


def test_several_images_are_proposed_for_as_one_by_one(proposer):
    some = proposer(points_per_side=2, crops_per_batch=3)  # batches that end inside an image
    images = [PICTURES[name] for name in ("wide", "tall", "tiny")]
    together = some.propose_batch(images)
    assert all(len(proposals) for proposals in together)
    for proposals, image in zip(together, images, strict=True):
        alone = some.propose(image)
        np.testing.assert_array_equal(proposals.boxes, alone.boxes)
        assert proposals.masks == alone.masks
    assert some.propose_batch([]) == []


def test_threads_do_not_disturb_each_other(proposer):
    shared = proposer(crop_n_layers=0, points_per_side=2)
    expected = [shared.propose(image).masks for image in PICTURES.values()]
    assert all(expected)
    found = {}

    def work(place, image):
        found[place] = shared.propose(image).masks

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(PICTURES.values())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[place] for place in range(len(threads))] == expected


def test_holes_are_filled_and_nothing_else_changes(proposer):
    image = PICTURES["wide"]
    plain, filled = (proposer(fill_holes=fill, crop_n_layers=0).propose(image) for fill in (False, True))
    drawn = [decode_mask(mask) for mask in plain.masks]
    expected = [ndimage.binary_fill_holes(mask) for mask in drawn]
    assert any((a != b).any() for a, b in zip(drawn, expected, strict=True))
    assert list(filled.masks) == encode_masks(np.stack(expected))
    np.testing.assert_array_equal(plain.boxes, filled.boxes)


def test_the_best_are_kept(proposer):
    every, best = (proposer(crop_n_layers=0, **kept).propose(PICTURES["wide"]) for kept in ({}, {"max_proposals": 2}))
    assert len(every) > 2 == len(best)
    assert best.masks == every.masks[:2]
    assert (np.diff(every.scores) <= 0).all()


@pytest.mark.parametrize("layers", [0, 1])
def test_nothing_survives(proposer, layers):
    proposals = proposer(crop_n_layers=layers, points_per_side=1, pred_iou_thresh=2.0).propose(PICTURES["wide"])
    assert len(proposals) == 0
    assert proposals.masks == ()


def test_an_image_of_one_pixel_has_no_empty_crops(proposer):
    proposals = proposer().propose(np.zeros((1, 1, 3), dtype=np.uint8))
    assert all(mask["size"] == (1, 1) for mask in proposals.masks)


def test_bfloat16_runs(proposer):
    options = {"crop_n_layers": 0, "points_per_side": 2, "pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
    proposals = proposer(dtype="bfloat16", **options).propose(PICTURES["wide"])
    assert len(proposals) > 0


@pytest.mark.parametrize("refined", [False, True])
def test_points_are_embedded_in_float32_and_few_at_once_on_a_cpu(proposer, refined):
    embedded = {}
    for dtype in ("float32", "bfloat16"):
        some = proposer(
            dtype=dtype, crop_n_layers=0, points_per_side=2, points_per_batch=None, use_m2m=refined, pred_iou_thresh=0.0
        )
        found = embedded[dtype] = []
        some._network.sam_prompt_encoder.register_forward_hook(lambda *call, found=found: found.append(call[-1][0]))
        some.propose(PICTURES["wide"])
    points = {dtype: torch.cat(found).unique(dim=0) for dtype, found in embedded.items()}
    assert torch.equal(points["float32"], points["bfloat16"])
    assert points["bfloat16"].shape[0] == 4
    assert {len(found) for found in embedded["float32"]} == {2}


def test_the_precision_of_products_is_set_while_proposing(proposer, monkeypatch):
    before = torch.get_float32_matmul_precision()
    assert before == "highest"
    for precision in ("medium", None):
        some = proposer(float32_matmul_precision=precision, crop_n_layers=0, points_per_side=1)
        seen, encode = [], some._encode
        monkeypatch.setattr(
            some,
            "_encode",
            lambda crops, seen=seen, encode=encode: seen.append(torch.get_float32_matmul_precision()) or encode(crops),
        )
        some.propose(PICTURES["tiny"])
        assert seen == [precision or before]
        assert torch.get_float32_matmul_precision() == before
        assert some.describe()["float32_matmul_precision"] == precision


def test_description(proposer, weights):
    described = proposer(points_per_side=5).describe()
    assert described["proposer"] == "sam2"
    assert described["points_per_side"] == 5
    assert described["crop_nms_thresh"] == FILTERS["crop_nms_thresh"]
    assert described["weights"] == [{"name": "small.pt", "sha256": hashlib.sha256(weights[0].read_bytes()).hexdigest()}]


def test_a_named_model_is_the_one_that_the_package_builds(tmp_path):
    from sam2.build_sam import build_sam2

    built = build_sam2(NAMED, None, device="cpu", apply_postprocessing=False)
    torch.save({"model": built.state_dict()}, tmp_path / "tiny.pt")
    loaded = load_model(tmp_path / "tiny.pt", "sam2.1_hiera_t")
    assert repr(loaded) == repr(built)
    assert not loaded.training
    theirs = built.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in loaded.state_dict().items())
    with pytest.raises(DataError, match=r"not of sam2_hiera_t: none missing, .* unexpected"):
        load_model(tmp_path / "tiny.pt", "sam2_hiera_t")


@pytest.mark.parametrize("model", MODELS)
def test_every_named_model_has_a_config_in_the_package(model, tmp_path):
    torch.save({"model": {"weight": torch.zeros(1, 1)}}, tmp_path / "one.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra.utils.instantiate", lambda content: torch.nn.Linear(1, 1) if content else None)
        with pytest.raises(DataError, match=r"1 weights \(bias\) missing, none unexpected"):
            load_model(tmp_path / "one.pt", model)


def test_an_unknown_model_is_refused_with_the_closest(weights):
    with pytest.raises(UnknownNameError, match=r"did you mean 'sam2\.1_hiera_l'"):
        Sam2Proposer(weights[0], "sam21_hiera_l")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        Sam2Proposer(*weights, dtype="float61")
    with pytest.raises(UnknownNameError, match="did you mean 'highest'"):
        Sam2Proposer(*weights, float32_matmul_precision="highestt")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"state_dict": {}}, "holds no weights"),
        ([1], "holds no weights"),
        (Fraction(1, 2), "cannot be read: it holds fractions.Fraction, which may run code"),
    ],
    ids=["no weights", "a list", "code"],
)
def test_files_that_are_no_checkpoint_are_refused(weights, tmp_path, content, why):
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=f"bad.pt .*{why}"):
        Sam2Proposer(tmp_path / "bad.pt", weights[1])


def test_weights_of_another_shape_and_missing_files_are_refused(network, weights, tmp_path):
    state = network.state_dict() | {"no_mem_embed": torch.zeros(1, 1, 2)}
    torch.save({"model": state}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="no_mem_embed"):
        Sam2Proposer(tmp_path / "bad.pt", weights[1])
    with pytest.raises(DataError, match="does not exist"):
        Sam2Proposer(tmp_path / "none.pt", weights[1])
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        Sam2Proposer(weights[0], str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model:\n  _target_: os.system\n  command: 'true'\n", "os.system"),
        ("model:\n  part:\n    - _target_: builtins.eval\n", "builtins.eval"),
        ("model:\n  _target_: sam2.modeling.sam2_base.torch.os.system\n  command: 'true'\n", r"only classes of sam2"),
        ("model:\n  _target_: sam2.modeling.sam2_base.get_1d_sine_pe\n", "only classes of sam2"),
        ("model:\n  _target_: sam2.modeling.nothing.Here\n", "only classes of sam2"),
        ("other: 1\n", "no 'model'"),
        ("model: [\n", "cannot be read"),
    ],
)
def test_a_config_that_builds_anything_else_is_refused(weights, tmp_path, text, why):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(DataError, match=why):
        Sam2Proposer(weights[0], str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"points_per_side": 0}, "points_per_side must be an integer >= 1"),
        ({"points_per_side": None}, "points_per_side must be an integer >= 1"),
        ({"points_per_batch": 0}, "points_per_batch must be an integer >= 1"),
        ({"max_proposals": 2.5}, "max_proposals must be an integer"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh must be a number"),
        ({"use_m2m": "no"}, "use_m2m must be true or false"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio must be in"),
        ({"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}, "leave no points"),
    ],
)
def test_parameters_out_of_range_are_refused(weights, parameters, why):
    with pytest.raises(EarthInstructError, match=why):
        Sam2Proposer(*weights, **parameters)


def test_a_missing_package_is_named_with_what_installs_it(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "sam2", None)
    with pytest.raises(EarthInstructError, match="pip install"):
        Sam2Proposer(*weights)


def test_importing_the_proposer_imports_neither_torch_nor_sam2():
    code = (
        "import sys, earthinstruct_models.proposers.sam2; sys.exit(bool({'torch', 'sam2', 'hydra'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("refined", [False, True], ids=["one pass", "mask to mask"])
def test_crops_and_points_are_halved_when_memory_runs_out(proposer, monkeypatch, refined):
    """The masks stay the same."""
    few = {"use_m2m": True, "crop_n_layers": 0, "points_per_side": 4, "pred_iou_thresh": 0.015}
    ours = proposer(crops_per_batch=16, **(few if refined else {}))
    expected = ours.propose(PICTURES["wide"])
    encode, decode, sizes = ours._encode, ours._decode, {"crops": [], "points": []}

    def short(name, work, limit):
        def run(*arguments):
            sizes[name].append(len(arguments[-1]))
            if len(arguments[-1]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return work(*arguments)

        return run

    monkeypatch.setattr(ours, "_encode", short("crops", encode, 2))
    monkeypatch.setattr(ours, "_decode", short("points", decode, 4))
    found = ours.propose(PICTURES["wide"])
    assert sizes["crops"][:3] == ([1] if refined else [5, 3, 2])
    assert sizes["points"][:4] == [10, 5, 3, 3]
    assert len(found) == len(expected) > 0
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_it_needs_no_float64_on_its_device(proposer, like_apple):
    ours = proposer()
    expected = ours.propose(PICTURES["wide"])
    with like_apple() as seen:
        found = ours.propose(PICTURES["wide"])
    assert seen
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_a_device_that_nobody_has_seen_gets_a_default(proposer, monkeypatch):
    """It takes part of the masks at once; which part does not change them."""
    ours = proposer()
    expected = ours.propose(PICTURES["wide"])
    monkeypatch.setattr("earthinstruct_models.proposers.sam2._PIXELS_AT_ONCE", {})
    np.testing.assert_array_equal(ours.propose(PICTURES["wide"]).boxes, expected.boxes)


def test_it_says_what_memory_it_needs(proposer):
    few, many = (proposer(points_per_batch=n, crops_per_batch=4).working_memory for n in (1, 256))
    assert many == {"cpu": int(7.3 * 2**30 / 256) * 256}  # the figures of docs/reproduction.md
    assert few == {"cpu": int(7.3 * 2**30 / 16) * 4}
