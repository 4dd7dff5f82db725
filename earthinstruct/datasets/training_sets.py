"""The sets of images that models are trained on, and which of them share images: facts with their sources.

Each was read: in the paper, on a page of the authors, or in a list by others, as the set then says (`by_others`). An
overlap that none of them states is not in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import read_text

IMAGES_FROM = "images_from.txt"  # beside a dataset without `info.images_from`


@dataclass(frozen=True)
class TrainingSet:
    """A set of images.

    Attributes:
        name: as methods declare it.
        title: as its authors write it.
        source: where its content is stated.
        labels: the sets whose images it holds together with what their labels say: boxes, masks, or texts made of them.
        images: the sets of which it holds images alone.
        unchecked: whether it was collected from the web, or is not public: nobody can say that it holds no image of
            another set.
        by_others: those of `labels` and `images` that were read in a list by others, because its authors' pages do not
            name them.
    """

    name: str
    title: str
    source: str
    labels: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    unchecked: bool = False
    by_others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """Images that a training set shares with a dataset.

    Attributes:
        through: the training set.
        shared: the set that the shared images are from.
        labels: whether the labels of these images were seen as well.
        by_others: whether a list by others says so, not the authors of the sets.
    """

    through: str
    shared: str
    labels: bool
    by_others: bool = False


def training_sets_given(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names of training sets, which a text has between commas; the text `none`: not trained at all.

    Raises:
        EarthInstructError: the text is empty, or the names are not texts.

    >>> training_sets_given("dior, coco")
    ('dior', 'coco')
    """
    if not isinstance(names, str):
        found = tuple(names) if isinstance(names, Iterable) else (names,)
        if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in found):
            raise EarthInstructError(f"training_data must be names of training sets, such as dior, coco; got {names!r}")
        return found
    if not names.strip(" ,"):
        raise EarthInstructError(
            "the names of training sets are empty; give those of `list training-sets`, `unknown`, or `none`"
        )
    if names.strip() == "none":
        return ()
    return tuple(word.strip() for word in names.split(",") if word.strip())


def _arxiv(
    name: str,
    title: str,
    number: str,
    *labels: str,
    images: tuple[str, ...] = (),
    read_at: str = "",
    by_others: tuple[str, ...] = (),
) -> TrainingSet:
    return TrainingSet(name, title, f"arXiv {number}{read_at and f'; {read_at}'}", labels, images, by_others=by_others)


def _by_others(
    name: str, title: str, number: str, issue: int, *labels: str, images: tuple[str, ...] = ()
) -> TrainingSet:
    """A set whose content was read in a list by others, not in its authors' paper or pages."""
    source = f"arXiv {number}; content: {_list_by_others(issue)}"
    return TrainingSet(name, title, source, labels, images, by_others=(*labels, *images))


def _list_by_others(issue: int) -> str:
    return f"github.com/VisionXLab/Awesome-RS-VL-Data, issue {issue}"


def _unchecked(name: str, title: str, source: str, *images: str, labels: tuple[str, ...] = ()) -> TrainingSet:
    return TrainingSet(name, title, source, labels, images, unchecked=True)


_AERIAL = (
    _arxiv("dior", "DIOR", "1909.00133"),
    TrainingSet(
        "nwpu-vhr-10",
        "NWPU VHR-10",
        "doi 10.1016/j.isprsjprs.2014.10.002; 85 of its 800 images: github.com/chaozhong2010/VHR-10_dataset_coco",
        images=("vaihingen",),
    ),
    TrainingSet("scenes", "the drawn scenes", "earthinstruct.draw_scenes"),
    _arxiv("dota", "DOTA", "1711.10398, 2102.12219"),
    _arxiv("fair1m", "FAIR1M", "2103.05569"),
    _arxiv("xview", "xView", "1802.07856"),
    TrainingSet("hrsc2016", "HRSC2016", "doi 10.5220/0006120603240331"),
    TrainingSet("hrrsd", "HRRSD", "doi 10.1109/TGRS.2019.2900302"),
    TrainingSet("levir", "LEVIR", "ieeexplore.ieee.org/document/8106808"),
    TrainingSet("rsod", "RSOD", "github.com/RSIA-LIESMARS-WHU/RSOD-Dataset-"),
    TrainingSet("ucas-aod", "UCAS-AOD", "doi 10.1109/ICIP.2015.7351502"),
    _arxiv("visdrone", "VisDrone", "2001.06303"),
    _arxiv("au-air", "AU-AIR", "2001.11737"),
    _arxiv("carpk", "CARPK", "1707.05972"),
    TrainingSet("stanford-drone", "Stanford Drone", "doi 10.1007/978-3-319-46484-8_33"),
    TrainingSet("vaihingen", "ISPRS Vaihingen", "ISPRS 2D Semantic Labeling Contest"),
    TrainingSet("potsdam", "ISPRS Potsdam", "ISPRS 2D Semantic Labeling Contest"),
    _arxiv("loveda", "LoveDA", "2110.08733"),
    _arxiv("deepglobe", "DeepGlobe", "1805.06561"),
    _arxiv("openearthmap", "OpenEarthMap", "2210.10732"),
    _arxiv("floodnet", "FloodNet", "2012.02951"),
    _arxiv("isaid", "iSAID", "1905.12886", "dota"),
    _arxiv("samrs", "SAMRS", "2305.02034", "dior", "dota", "fair1m", read_at="github.com/ViTAE-Transformer/SAMRS"),
    # scenes and their names
    _arxiv("nwpu-resisc45", "NWPU-RESISC45 (not NWPU VHR-10)", "1703.00121"),
    _arxiv("million-aid", "Million-AID", "2006.12485"),
    _arxiv("fmow", "Functional Map of the World", "1711.07846"),
    _arxiv("bigearthnet", "BigEarthNet", "1902.06148"),
    # images and texts
    _arxiv("rsicd", "RSICD", "1712.07835"),
    _arxiv("rsitmd", "RSITMD", "2204.09868"),
    TrainingSet("ucm-captions", "UCM-Captions", "doi 10.1109/CITS.2016.7546397"),
    _arxiv("rsvqa", "RSVQA", "2003.07333"),
    _arxiv("earthvqa", "EarthVQA", "2312.12222", "loveda", read_at="github.com/Junjue-Wang/EarthVQA"),
    TrainingSet("rsvg", "RSVG", "doi 10.1145/3503161.3548316"),
    _arxiv("dior-rsvg", "DIOR-RSVG", "2210.12634", "dior", read_at="github.com/ZhanYang-nwpu/RSVG-pytorch"),
    _by_others("rrsis-d", "RRSIS-D", "2312.12470", 48, "dior-rsvg"),
    _arxiv(
        "remoteclip-ret-3",
        "RET-3 of RemoteCLIP",
        "2306.11029",
        *("rsicd", "rsitmd", "ucm-captions"),
        read_at="figure 2 in github.com/ChenDelong1999/RemoteCLIP",
    ),
    _arxiv(
        "remoteclip-seg-4",
        "SEG-4 of RemoteCLIP",
        "2306.11029",
        *("isaid", "loveda", "potsdam", "vaihingen"),
        read_at="figure 2 in github.com/ChenDelong1999/RemoteCLIP",
    ),
    _arxiv(
        "remoteclip-det-10",
        "DET-10 of RemoteCLIP",
        "2306.11029",
        *("au-air", "carpk", "dior", "dota", "hrrsd", "hrsc2016", "levir", "rsod", "stanford-drone", "visdrone"),
        read_at="figure 2 in github.com/ChenDelong1999/RemoteCLIP",
    ),
    _arxiv("skyscript", "SkyScript", "2312.12856"),
    _unchecked("rs5m", "RS5M", "arXiv 2306.11300; github.com/om-ai-lab/RS5M", "million-aid", "fmow", "bigearthnet"),
    _by_others("git-10m", "Git-10M", "2501.00895", 71, images=("dior", "million-aid", "skyscript")),
    # boxes of many sets, and instructions made of them
    _arxiv(
        "lae-1m",
        "LAE-1M",
        "2408.09110",
        *("dior", "dota", "fair1m", "hrsc2016", "nwpu-vhr-10", "rsod", "xview"),
        images=("nwpu-resisc45",),
        read_at="github.com/jaychempan/LAE-DINO",
    ),
    _arxiv(
        "geochat-instruct",
        "GeoChat-Instruct",
        "2311.15826",
        *("floodnet", "nwpu-resisc45", "rsvqa", "samrs"),
        read_at="huggingface.co/datasets/MBZUAI/GeoChat_Instruct; FloodNet: " + _list_by_others(5),
        by_others=("floodnet",),
    ),
    _arxiv(
        "skyeye-968k",
        "SkyEye-968k",
        "2401.09712",
        *("dior", "dior-rsvg", "dota", "nwpu-resisc45", "rsicd", "rsitmd", "rsvg", "rsvqa", "ucm-captions"),
        read_at="its table in github.com/ZhanYang-nwpu/SkyEyeGPT",
    ),
    _by_others(
        "mmrs-1m",
        "MMRS-1M",
        "2401.16822",
        8,
        *("dior", "dior-rsvg", "dota", "fair1m", "hrrsd", "nwpu-vhr-10", "rsod", "ucas-aod", "visdrone"),
        *("floodnet", "nwpu-resisc45", "rsicd", "rsitmd", "rsvqa", "ucm-captions"),
    ),
    _arxiv("fit-rs", "FIT-RS, of the images of STAR", "2406.10100", read_at="github.com/Luo-Z13/SkySenseGPT"),
    _arxiv("vrsbench", "VRSBench", "2406.12384", "dior", "dota", read_at="github.com/lx709/VRSBench"),
    _by_others(
        "rsvp",
        "RSVP of EarthMarker",
        "2407.13596",
        12,
        *("dior-rsvg", "dota", "fair1m", "hrrsd", "hrsc2016", "isaid", "levir", "nwpu-resisc45", "nwpu-vhr-10"),
        *("potsdam", "rsitmd", "rsod", "samrs", "ucas-aod", "vaihingen", "visdrone"),
    ),
    _arxiv(
        "refgeo",
        "refGeo of GeoGround",
        "2411.11904",
        *("dior-rsvg", "geochat-instruct", "rsvg", "vrsbench"),
        read_at="its table in github.com/zytx121/GeoGround",
    ),
    _arxiv(
        "earthdial-instruct",
        "EarthDial-Instruct",
        "2412.15190",
        *("bigearthnet", "dior-rsvg", "fmow", "geochat-instruct", "nwpu-resisc45", "rsicd", "rsvg", "skyscript"),
        "ucm-captions",
        read_at="src/shell/data in github.com/hiyamdebary/EarthDial",
    ),
    # of SAMRS, its categories are those of DIOR and DOTA alone
    _arxiv(
        "landdiscover50k",
        "LandDiscover50K",
        "2412.19492",
        *("deepglobe", "dior", "dota", "loveda", "openearthmap"),
        read_at="README and datasets/landdiscover.json in github.com/yecy749/GSNet",
    ),
    _arxiv(
        "geopixinstruct",
        "GeoPixInstruct",
        "2501.06828",
        *("dior-rsvg", "samrs"),
        read_at="huggingface.co/datasets/Norman-ou/GeoPixInstruct-Anno; DIOR-RSVG: " + _list_by_others(38),
        by_others=("dior-rsvg",),
    ),
    _arxiv("geopixeld", "GeoPixelD", "2501.13925", "isaid", read_at="github.com/mbzuai-oryx/GeoPixel"),
    _by_others(
        "rs-vl3m",
        "RS-VL3M",
        "2507.20776",
        85,
        *("dior", "dota", "fit-rs", "nwpu-resisc45", "nwpu-vhr-10", "rsicd", "rsvqa", "ucm-captions"),
    ),
)
_GENERAL = (
    _arxiv("imagenet", "ImageNet", "1409.0575"),
    _arxiv("coco", "COCO", "1405.0312"),
    _arxiv("lvis", "LVIS", "1908.03195", images=("coco",)),
    _arxiv("refcoco", "RefCOCO", "1608.00272", images=("coco",)),
    TrainingSet("objects365", "Objects365", "doi 10.1109/ICCV.2019.00852"),
    _arxiv("openimages", "Open Images", "1811.00982"),
    _arxiv("visual-genome", "Visual Genome, GQA", "1602.07332, 1902.09506"),
    _arxiv("flickr30k", "Flickr30k Entities", "1505.04870"),
    _arxiv(
        "goldg",
        "GoldG",
        "2104.12763",
        *("flickr30k", "visual-genome"),
        read_at="configs/mm_grounding_dino in github.com/open-mmlab/mmdetection",
    ),
    _arxiv("v3det", "V3Det", "2304.03752"),
    _arxiv("odinw-35", "ODinW-35", "2204.08790"),
    _arxiv("sa-1b", "SA-1B", "2304.02643"),
    _arxiv("sa-v", "SA-V", "2408.00714"),
    _unchecked("sam2-internal", "the internal videos of SAM 2", "arXiv 2408.00714, section 5.2"),
    _unchecked(
        "sa-co",
        "SA-Co",
        "arXiv 2511.16719, table 25",
        *("metaclip", "sa-1b", "sa-v", "sam2-internal"),
        labels=("imagenet", "objects365", "openimages", "visdrone", "visual-genome"),
    ),
    _unchecked("pe-image-text", "images, texts and videos of Perception Encoder", "arXiv 2504.13181"),
    _unchecked("cap4m", "Cap4M", "arXiv 2112.03857"),
    _unchecked("grit", "GRIT", "arXiv 2306.14824"),
    _unchecked("llava-pretrain", "LLaVA-Pretrain", "arXiv 2304.08485"),
    _unchecked("llava-1.5", "the data of LLaVA-1.5", "arXiv 2310.03744", "coco", "visual-genome", "llava-pretrain"),
    _unchecked(
        "molmo2",
        "the data of Molmo 2",
        "arXiv 2601.10611; launch_scripts in github.com/allenai/molmo2",
        *("llava-1.5", "openimages", "sa-v"),
        labels=("coco", "visual-genome"),
    ),
    TrainingSet(
        "groundingcap-1m",
        "GroundingCap-1M",
        "arXiv 2501.18954; github.com/iSEE-Laboratory/LLMDet",
        ("coco", "flickr30k", "v3det", "visual-genome"),
        ("llava-pretrain",),
    ),
    _unchecked("wit-400m", "WIT-400M of OpenAI's CLIP", "arXiv 2103.00020"),
    _unchecked("laion-2b", "LAION-2B", "arXiv 2210.08402"),
    _unchecked("laion-400m", "LAION-400M", "arXiv 2111.02114"),
    _unchecked("dfn-2b", "DFN-2B", "arXiv 2309.17425"),
    _unchecked("metaclip", "MetaCLIP", "arXiv 2309.16671"),
    _unchecked("dfndr-2b", "DFNDR-2B", "arXiv 2508.20691; github.com/apple/ml-mobileclip", "dfn-2b"),
    _unchecked("metaclip-2", "MetaCLIP 2", "arXiv 2507.22062; github.com/facebookresearch/MetaCLIP"),
    _unchecked("webli", "WebLI", "arXiv 2209.06794"),
    _unchecked("fld-5b", "FLD-5B", "arXiv 2311.06242", "imagenet", "objects365", "openimages"),
)
TRAINING_SETS: Mapping[str, TrainingSet] = {each.name: each for each in (*_AERIAL, *_GENERAL)}

_NAMED_DATASETS = {
    "dior": ("dior",),
    "dior-test": ("dior",),
    "dior-mini": ("dior",),
    "nwpu": ("nwpu-vhr-10",),
    "scenes": ("scenes",),
}


def images_of(dataset: str) -> tuple[str, ...] | None:
    """The sets that the images of a named dataset of the suite are from; None for any other dataset."""
    return _NAMED_DATASETS.get(dataset)


def images_from_file(folder: Path) -> tuple[str, ...] | None:
    """The sets that the images of a dataset are from, read from `images_from.txt`.

    Args:
        folder: the dataset's; the file may be in it, or one or two folders up.

    Returns:
        Names of training sets; (): of none; None: there is no such file.

    Raises:
        DataError: the file has no names.
    """
    for path in (place / IMAGES_FROM for place in (folder, *folder.absolute().parents[:2])):
        if path.is_file():
            names = ",".join(read_text(path, "training sets").splitlines())
            if not names.strip(" ,"):
                raise DataError(
                    f"{path} is empty; write the training sets that the images are from, one a line, `unknown`, or "
                    "`none` where they are of none"
                )
            return training_sets_given(names)
    return None


def list_training_sets() -> list[dict[str, str]]:
    """Every set of the table: `name`, `title`, what it `holds`, and the `source`."""
    unchecked = "more that cannot be checked (from the web, or not public)"
    return [
        {
            "name": each.name,
            "title": each.title,
            "holds": ", ".join(
                [*each.labels, *(f"{name} (images alone)" for name in each.images), *[unchecked] * each.unchecked]
            ),
            "source": each.source,
        }
        for each in TRAINING_SETS.values()
    ]


def overlaps(training_sets: Iterable[str], images: Iterable[str]) -> list[Overlap]:
    """The training sets that share images with a dataset, each once.

    Those with labels come first, and of these those whose authors say so. All splits of a set count as one: who has
    learned from one split knows the others' kind of images and labels.

    Args:
        training_sets: names of sets; names outside the table are compared as they are.
        images: the names of the sets that the images of the dataset are from.

    >>> overlaps(["coco", "lae-1m"], ["nwpu-vhr-10"])
    [Overlap(through='lae-1m', shared='nwpu-vhr-10', labels=True, by_others=False)]
    """
    of_dataset = [_held(name) for name in images]
    found = []
    for name in dict.fromkeys(training_sets):
        shared = [
            Overlap(name, each, labels and content[each].labels, by_others or content[each].by_others)
            for each, (labels, by_others) in _held(name).items()
            for content in of_dataset
            if each in content
        ]
        found += sorted(shared, key=_strength)[:1]
    return sorted(found, key=_strength)


def _strength(of: Overlap | _Link) -> tuple[bool, bool]:
    """The order of overlaps, strongest first."""
    return not of.labels, of.by_others


class _Link(NamedTuple):
    """How a set is in another one."""

    labels: bool  # whether with its labels
    by_others: bool  # whether a list by others says so


_ITSELF = _Link(labels=True, by_others=False)


def _held(name: str, link: _Link = _ITSELF) -> dict[str, _Link]:
    """All sets that are in a set, itself first: name -> the strongest way in which it is there."""
    found = {name: link}
    known = TRAINING_SETS.get(name)
    if known is None:
        return found
    for each in (*known.labels, *known.images):
        inner = _Link(link.labels and each in known.labels, link.by_others or each in known.by_others)
        for held, way in _held(each, inner).items():
            found[held] = min(found.get(held, way), way, key=_strength)
    return found
