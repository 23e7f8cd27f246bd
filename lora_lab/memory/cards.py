"""The catalogue of GPUs, and which of them a name means.

Units: NVIDIA's "80 GB" is 80 GiB of chips (GiB = 2³⁰ bytes), of which the driver and error correction keep some back;
`usable_bytes` is what CUDA then reports. Bandwidth is in GB/s and speed in TFLOP/s, with GB = 10⁹ and T = 10¹².
"""

import re
from dataclasses import dataclass

from lora_lab.ranges import brief, near
from lora_lab.units import GIB

# The CUDA context of a process, MiB, where it was not measured: 141 on a T4, 770 on an H100 with all libraries loaded.
CONTEXT_MIB = (130, 800)


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Attributes:
        name: how to call it here.
        memory_gib: as advertised, GiB.
        usable_gib: about the least that PyTorch reports as its "total capacity", GiB; it varies with the driver.
        bandwidth: of its memory, GB/s.
        tflops: dense 16-bit tensor products with float32 accumulation, TFLOP/s. Data sheets often print twice that,
            for sparse matrices.
        capability: CUDA compute capability; from (8, 0) on there is fast bfloat16, below it use float16.
        source: of the figures.
        usable_source: of `usable_gib`; "as advertised" where no report was found, so that some of it is not there.
        context_mib: of a process's CUDA context, MiB, least and most.
    """

    name: str
    memory_gib: int
    usable_gib: float
    bandwidth: int
    tflops: float
    capability: tuple[int, int]
    source: str
    usable_source: str = "out-of-memory messages in public repositories"
    context_mib: tuple[int, int] = CONTEXT_MIB

    @property
    def memory_bytes(self) -> int:
        """Advertised."""
        return self.memory_gib * GIB

    @property
    def usable_bytes(self) -> int:
        """What CUDA reports."""
        return round(self.usable_gib * GIB)

    @property
    def as_advertised(self) -> bool:
        """Whether `usable_gib` is only what the maker says."""
        return self.usable_source == ADVERTISED

    @property
    def bfloat16(self) -> bool:
        """Whether it computes bfloat16 in hardware."""
        return self.capability >= (8, 0)


ADVERTISED = "as advertised"
T4_CONTEXT, H100_CONTEXT = (141, 141), (767, 773)

# From small to large, and within one size from old to new. `usable_gib` from out-of-memory messages in public
# repositories ("GPU 0 has a total capacity of ..."), with the number where it is one; 24-GB cards with error
# correction report 21.96 to 22.06. GeForce cards report all of it under Windows, and some 2 % less under Linux.
# fmt: off
GPUS: dict[str, GPU] = {gpu.name: gpu for gpu in (
    GPU("rtx-3070", 8, 7.78, 448, 40.6, (8, 6), "NVIDIA Ampere GA102 white paper, 2020",
        "akshitac8/OW-DETR issue 46"),
    GPU("rtx-4060", 8, 7.72, 272, 30.2, (8, 9), "NVIDIA's product page, 2023", "longxiang-ai/TSGS issue 6"),
    GPU("rtx-4060-ti-8gb", 8, 8.0, 288, 44.1, (8, 9), "NVIDIA's product page, 2023", ADVERTISED),
    GPU("rtx-5060-ti-8gb", 8, 8.0, 448, 47.4, (12, 0), "NVIDIA's product page, 2025", ADVERTISED),
    GPU("rtx-3080-10gb", 10, 9.78, 760, 59.5, (8, 6), "NVIDIA Ampere GA102 white paper, 2020",
        "zai-org/CogVideo issue 34"),
    GPU("rtx-2080-ti", 11, 10.76, 616, 53.8, (7, 5), "NVIDIA Turing white paper, 2018", "ispc-lab/TMA issue 5"),
    GPU("rtx-3060-12gb", 12, 11.75, 360, 25.5, (8, 6), "NVIDIA's product page, 2021",
        "Kunhao-Liu/StyleGaussian issue 12"),
    GPU("rtx-4070", 12, 12.0, 504, 58.3, (8, 9), "NVIDIA's product page, 2023", ADVERTISED),
    GPU("rtx-4070-ti", 12, 11.73, 504, 80.2, (8, 9), "NVIDIA's product page, 2023", "OpenLMLab/LOMO issue 17"),
    GPU("p100-16gb", 16, 15.88, 732, 9.3, (6, 0), "NVIDIA P100 data sheet, 2016 (PCIe; no tensor cores: float32)",
        "ultralytics/ultralytics issue 10203"),
    GPU("v100-16gb", 16, 15.75, 900, 125.0, (7, 0), "NVIDIA V100 data sheet, 2018 (SXM2)"),
    GPU("t4", 16, 14.56, 320, 65.0, (7, 5), "NVIDIA T4 data sheet, 2019", context_mib=T4_CONTEXT),
    GPU("rtx-a4000", 16, 15.61, 448, 76.7, (8, 6), "NVIDIA RTX A4000 data sheet, 2021",
        "DengKaiCQ/VGGT-Long issue 6"),
    GPU("rtx-4080", 16, 16.0, 717, 97.5, (8, 9), "NVIDIA Ada white paper, 2022", ADVERTISED),
    GPU("rtx-4060-ti-16gb", 16, 16.0, 288, 44.1, (8, 9), "NVIDIA's product page, 2023", ADVERTISED),
    GPU("rtx-5060-ti-16gb", 16, 15.44, 448, 47.4, (12, 0), "NVIDIA's product page, 2025",
        "Luce-Org/lucebox issue 407"),
    GPU("rtx-5070-ti", 16, 16.0, 896, 87.9, (12, 0), "NVIDIA RTX Blackwell white paper, 2025", ADVERTISED),
    GPU("rtx-5080", 16, 16.0, 960, 112.6, (12, 0), "NVIDIA RTX Blackwell white paper, 2025", ADVERTISED),
    GPU("rtx-3090", 24, 23.5, 936, 71.0, (8, 6), "NVIDIA Ampere GA102 white paper, 2020"),
    GPU("a10", 24, 22.48, 600, 125.0, (8, 6), "NVIDIA A10 data sheet, 2021",
        "modal-labs/modal-client pull request 2797 (nvidia-smi)"),
    GPU("a10g", 24, 21.96, 600, 70.0, (8, 6), "NVIDIA A10G data sheet (AWS G5), 2021"),
    GPU("a30", 24, 23.53, 933, 165.0, (8, 0), "NVIDIA A30 data sheet, 2021", "google/RB-Modulation issue 5"),
    GPU("rtx-a5000", 24, 24.0, 768, 111.1, (8, 6), "NVIDIA RTX A5000 data sheet, 2021", ADVERTISED),
    GPU("rtx-4090", 24, 23.5, 1008, 165.2, (8, 9), "NVIDIA Ada white paper, 2022"),
    GPU("l4", 24, 21.96, 300, 121.0, (8, 9), "NVIDIA L4 data sheet, 2023"),
    GPU("v100-32gb", 32, 31.73, 900, 125.0, (7, 0), "NVIDIA V100 data sheet, 2018 (SXM2)"),
    GPU("rtx-5090", 32, 31.34, 1792, 209.5, (12, 0), "NVIDIA RTX Blackwell white paper, 2025"),
    GPU("a100-40gb", 40, 39.39, 1555, 312.0, (8, 0), "NVIDIA A100 data sheet, 2021 (SXM4)"),
    GPU("a40", 48, 48.0, 696, 149.7, (8, 6), "NVIDIA A40 data sheet, 2020", ADVERTISED),
    GPU("rtx-a6000", 48, 47.52, 768, 154.8, (8, 6), "NVIDIA RTX A6000 data sheet, 2020",
        "ultralytics/ultralytics issue 19084"),
    GPU("rtx-6000-ada", 48, 44.43, 960, 364.2, (8, 9), "NVIDIA RTX 6000 Ada data sheet, 2022",
        "DINGYANB/MTVCrafter issue 21"),
    GPU("l40s", 48, 44.39, 864, 362.0, (8, 9), "NVIDIA L40S data sheet, 2023"),
    GPU("a100-80gb", 80, 79.14, 2039, 312.0, (8, 0), "NVIDIA A100 data sheet, 2021 (SXM4)"),
    GPU("h100", 80, 79.10, 3350, 989.0, (9, 0), "NVIDIA H100 data sheet, 2023 (SXM5)", context_mib=H100_CONTEXT),
    GPU("rtx-pro-6000", 96, 94.97, 1792, 503.8, (12, 0), "NVIDIA RTX Blackwell PRO white paper, 2025",
        "antirez/ds4 issue 431"),
    GPU("h200", 141, 139.72, 4800, 989.0, (9, 0), "NVIDIA H200 data sheet, 2024 (SXM5)"),
    GPU("b200", 180, 178.35, 8000, 2250.0, (10, 0), "NVIDIA's, as in stas00/ml-engineering, 2026; GB: MLPerf 6.0"),
)}
# fmt: on
"""The cards that `fit` knows, by name: from small to large, and within one size from old to new."""

MOST_CARDS = 1024
_PLACES = {"kaggle": "2xt4", "colab": "t4"}
_MANY = re.compile(r"(-?[0-9][0-9.]*)\s*[x×*]\s*(\S.*)|(\S.*?)[\s-]+[x×*]\s*([0-9][0-9.]*)")
_NO_NAME = (  # words around a name that say nothing of its memory
    "nvidia|geforce|tesla|quadro|rtx|gtx|gpu|generation|blackwell|workstation|server|edition|pcie|sxm[0-9]?|hbm[0-9]e?"
)


def get_gpu(name: str) -> GPU:
    """A GPU by its name here or as people write it, in any case: "4090", "RTX 3060 12GB", "Tesla T4".

    Where one is sold with more than one size of memory, as the A100 is, the smallest is meant unless the name says.

    Raises:
        ValueError: for an unknown name, with near ones; for several cards, each of which has a memory of its own.
    """
    count, gpu = get_cards(name)
    if count > 1:
        raise ValueError(f"{brief(name)} is {count} cards, each with a memory of its own: give {gpu.name!r}")
    return gpu


def get_cards(name: str) -> tuple[int, GPU]:
    """How many cards of which GPU a name means: "2xt4" and "kaggle" two T4s, "4090" one RTX 4090.

    Raises:
        ValueError: as `get_gpu`; for none or over a thousand cards.
    """
    if not isinstance(name, str) or not name.strip():
        raise _unknown(name)
    text = " ".join(name.lower().split())
    count, text = _counted(_PLACES.get(text, text))
    if not 1 <= count <= MOST_CARDS:
        raise ValueError(f"{brief(name)} is no number of cards: choose from 1 to {MOST_CARDS}")
    if not (found := namesakes(text)):
        raise _unknown(name, text)
    return count, found[0]


def namesakes(name: str) -> list[GPU]:
    """The GPUs that a name may mean, from the smallest memory to the largest; empty for an unknown name."""
    wanted = _key(name)
    found = [gpu for gpu in GPUS.values() if wanted and wanted in _keys(gpu)]
    return found or [gpu for gpu in GPUS.values() if wanted and wanted == _key(re.sub(r"-[0-9]+gb$", "", gpu.name))]


def _counted(text: str) -> tuple[int, str]:
    if text in GPUS or not (match := _MANY.fullmatch(text)):
        return 1, text
    before, after, name, behind = match.groups()
    number, name = (before, after) if before else (behind, name)
    return (int(number) if re.fullmatch("[0-9]{1,6}", number) else 0), name  # 0 for what counts nothing


def _keys(gpu: GPU) -> set[str]:
    """The whole name, and the name with its memory if that is no part of it; "80g" is as good as "80gb"."""
    key = _key(gpu.name)
    with_memory = key if key.endswith("gb") else f"{key}{gpu.memory_gib}gb"
    return {key, with_memory, with_memory[:-1]}


def _key(name: str) -> str:
    """Letters and digits, without what names it and does not tell it from others."""
    words = re.sub(rf"(?<![a-z0-9])({_NO_NAME})(?![a-z0-9])", " ", name.lower())
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^\s*(rtx|gtx)", "", words))


def _unknown(name: object, text: str = "") -> ValueError:
    keys = {_key(gpu.name): gpu.name for gpu in GPUS.values()}
    similar = near(_key(text), keys, 4, cutoff=0.5)
    them = ", ".join(keys[key] for key in similar or keys)
    return ValueError(f"unknown GPU {brief(name)}: choose {'one near it,' if similar else 'one of'} {them}")
