"""A random SAM2 on disk."""

from importlib.resources import files

import pytest


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
