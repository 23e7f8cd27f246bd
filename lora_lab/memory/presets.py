"""The models people ask about, as sizes: a config without a download.

A preset holds what bears on memory: the numbers of layers and heads, the widths, the vocabulary, what is tied. The
rest (RoPE frequencies, token ids, initial scales) stays at the class's defaults, so a preset is for counting bytes,
not for loading weights.
"""

import os
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_lab.disk import read_json
from lora_lab.memory.fields import check_config, check_fields
from lora_lab.ranges import brief, near
from lora_lab.units import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Preset:
    """One published model.

    Attributes:
        name: what to call it here.
        hub: its name on the Hugging Face hub, where its config.json is published.
        parameters: of the transformers class, each tied weight once.
        model_type: the transformers architecture.
        sizes: arguments of that architecture's config.
    """

    name: str
    hub: str
    parameters: int
    model_type: str
    sizes: Mapping[str, Any]

    def config(self) -> "PreTrainedConfig":
        """A new config of the architecture's class."""
        from transformers import AutoConfig

        return AutoConfig.for_model(self.model_type, **self.sizes)

    def stated(self) -> dict[str, Any]:
        """What that config says of shapes, defaults of its class included, without loading `transformers`."""
        own = {_GPT2_NAMES.get(name, name): value for name, value in self.sizes.items()}
        said = {"model_type": self.model_type, **_DEFAULTS, **_CLASS_DEFAULTS.get(self.model_type, {}), **own}
        if pattern := said["layer_types"]:
            said["layer_types"] = [pattern[n % len(pattern)] for n in range(said["num_hidden_layers"])]
        return said


def find_preset(name: Any) -> Preset | None:
    """The preset of this name, in any case, or of this name on the hub; a preset is its own; None for anything else."""
    if isinstance(name, Preset):
        return name
    return _BY_NAME.get(name.strip().lower()) if isinstance(name, str) else None


def load_config(config: "Preset | PreTrainedConfig | str | os.PathLike[str]") -> "PreTrainedConfig":
    """A `transformers` config from what a user has at hand; nothing is downloaded and no code of a checkpoint runs.

    Args:
        config: a config, returned as it is; the name of a preset, in any case; a config.json or the folder that
            holds it.

    Raises:
        TypeError: for anything else.
        ValueError: for a name that is neither a preset nor a file nor a folder, with the nearest presets; for a
            config.json that is not there or that transformers does not know; for a config whose numbers make no model,
            naming the field.

    >>> load_config("Llama-3.1-8B").num_hidden_layers
    32
    """
    if preset := find_preset(config):
        return preset.config()
    if not isinstance(config, (str, os.PathLike)):
        from transformers import PreTrainedConfig

        if isinstance(config, PreTrainedConfig):
            check_config(config)
            return config
        raise TypeError(
            f"cannot read a config from a {type(config).__name__}: "
            "give a transformers config, the name of a preset, or a config.json or its folder"
        )
    if os.path.exists(config):  # for a name that no path can have, Path.exists raises
        return _from_file(Path(config) / "config.json" if os.path.isdir(config) else Path(config))
    name = os.fsdecode(config)
    similar = near(name.rpartition("/")[2].lower(), PRESETS, 4, cutoff=0.5)
    raise ValueError(
        f"{brief(name)} is neither a preset nor a config.json or its folder: "
        f"{'near it are' if similar else 'the presets are'} {', '.join(similar or PRESETS)}"
    )


def _from_file(path: Path) -> "PreTrainedConfig":
    from transformers import CONFIG_MAPPING, AutoConfig

    if not path.is_file():
        raise ValueError(f"the folder '{path.parent}' holds no {path.name}: give the folder that a model was saved to")
    stored = read_json(path, "save the model's config again", finite=False)
    if path.read_bytes().startswith(BOM_UTF8):
        raise ValueError(f"'{path}' begins with a byte order mark, which transformers does not read: save it without")
    if "attribute_map" in stored:  # which belongs to the class: it would make one field stand for another
        raise ValueError(f"'{path}' holds an attribute_map, which no config has: take it out")
    try:
        for part in (stored.get("text_config"), stored):
            check_fields(part if isinstance(part, dict) else {})
        if stored.get("model_type") not in list(CONFIG_MAPPING):
            raise ValueError(f"model_type={brief(stored.get('model_type'))} is no architecture that transformers knows")
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        check_config(config)
    except Exception as error:  # its classes check what they are given, each with errors of its own
        raise ValueError(f"cannot read the config in '{path}': {first_line(error.__cause__ or error)}") from error
    return config


def _preset(
    name: str, hub: str, model_type: str, parameters: int, vocab: int, hidden: int, intermediate: int, layers: int,
    heads: int, kv_heads: int, positions: int, tied: bool = False, **more: Any,
) -> Preset:  # fmt: skip
    sizes = dict(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=positions,
        tie_word_embeddings=tied, **more,
    )  # fmt: skip
    return Preset(name, hub, parameters, model_type, sizes)


def _gpt2(name: str, hub: str, parameters: int, hidden: int, layers: int, heads: int) -> Preset:
    return Preset(name, hub, parameters, "gpt2", {"n_embd": hidden, "n_layer": layers, "n_head": heads})


# Columns: name, hub, architecture, parameters, vocabulary, hidden, intermediate, layers, heads, key-value heads,
# positions. Parameters are those of the class. The hub's counts (safetensors metadata) agree, except where a file
# holds more: Llama-2-7B's 2,048 RoPE frequencies, GPT-2's causal masks (1,024² numbers for each layer, so 137,022,720
# in all for the smallest), and what the notes below say.
# fmt: off
PRESETS: dict[str, Preset] = {preset.name: preset for preset in (
    _preset("llama-2-7b", "meta-llama/Llama-2-7b-hf", "llama", 6_738_415_616, 32000, 4096, 11008, 32, 32, 32, 4096),
    _preset("llama-2-13b", "meta-llama/Llama-2-13b-hf", "llama", 13_015_864_320, 32000, 5120, 13824, 40, 40, 40, 4096),
    _preset("llama-2-70b", "meta-llama/Llama-2-70b-hf", "llama", 68_976_648_192, 32000, 8192, 28672, 80, 64, 8, 4096),
    _preset("llama-3-8b", "meta-llama/Meta-Llama-3-8B", "llama", 8_030_261_248, 128256, 4096, 14336, 32, 32, 8, 8192),
    _preset("llama-3-70b", "meta-llama/Meta-Llama-3-70B", "llama", 70_553_706_496,
            128256, 8192, 28672, 80, 64, 8, 8192),
    _preset("llama-3.1-8b", "meta-llama/Llama-3.1-8B", "llama", 8_030_261_248, 128256, 4096, 14336, 32, 32, 8, 131072),
    _preset("llama-3.1-70b", "meta-llama/Llama-3.1-70B", "llama", 70_553_706_496,
            128256, 8192, 28672, 80, 64, 8, 131072),
    _preset("llama-3.1-405b", "meta-llama/Llama-3.1-405B", "llama", 405_853_388_800,
            128256, 16384, 53248, 126, 128, 8, 131072),
    _preset("llama-3.2-1b", "meta-llama/Llama-3.2-1B", "llama", 1_235_814_400,
            128256, 2048, 8192, 16, 32, 8, 131072, tied=True),
    _preset("llama-3.2-3b", "meta-llama/Llama-3.2-3B", "llama", 3_212_749_824,
            128256, 3072, 8192, 28, 24, 8, 131072, tied=True),
    _preset("mistral-7b", "mistralai/Mistral-7B-v0.1", "mistral", 7_241_732_096,
            32000, 4096, 14336, 32, 32, 8, 32768, sliding_window=4096),
    _preset("mistral-7b-v0.2", "mistralai/Mistral-7B-Instruct-v0.2", "mistral", 7_241_732_096,
            32000, 4096, 14336, 32, 32, 8, 32768, sliding_window=None),
    _preset("mistral-7b-v0.3", "mistralai/Mistral-7B-v0.3", "mistral", 7_248_023_552,
            32768, 4096, 14336, 32, 32, 8, 32768, sliding_window=None),
    _preset("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1", "mixtral", 46_702_792_704,
            32000, 4096, 14336, 32, 32, 8, 32768, num_local_experts=8, num_experts_per_tok=2),
    _preset("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", "qwen2", 494_032_768, 151936, 896, 4864, 24, 14, 2, 32768, tied=True),
    _preset("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B", "qwen2", 1_543_714_304,
            151936, 1536, 8960, 28, 12, 2, 131072, tied=True),
    _preset("qwen2.5-3b", "Qwen/Qwen2.5-3B", "qwen2", 3_085_938_688, 151936, 2048, 11008, 36, 16, 2, 32768, tied=True),
    _preset("qwen2.5-7b", "Qwen/Qwen2.5-7B", "qwen2", 7_615_616_512, 152064, 3584, 18944, 28, 28, 4, 131072),
    _preset("qwen2.5-14b", "Qwen/Qwen2.5-14B", "qwen2", 14_770_033_664, 152064, 5120, 13824, 48, 40, 8, 131072),
    _preset("qwen2.5-32b", "Qwen/Qwen2.5-32B", "qwen2", 32_763_876_352, 152064, 5120, 27648, 64, 40, 8, 131072),
    _preset("qwen2.5-72b", "Qwen/Qwen2.5-72B", "qwen2", 72_706_203_648, 152064, 8192, 29568, 80, 64, 8, 131072),
    # The files of Qwen3-0.6B and -1.7B hold the tied head a second time, so the hub shows 751,632,384 and
    # 2,031,739,904; here, as everywhere, a tied weight counts once.
    _preset("qwen3-0.6b", "Qwen/Qwen3-0.6B", "qwen3", 596_049_920, 151936, 1024, 3072, 28, 16, 8, 40960, tied=True),
    _preset("qwen3-1.7b", "Qwen/Qwen3-1.7B", "qwen3", 1_720_574_976, 151936, 2048, 6144, 28, 16, 8, 40960, tied=True),
    _preset("qwen3-4b", "Qwen/Qwen3-4B", "qwen3", 4_022_468_096, 151936, 2560, 9728, 36, 32, 8, 40960, tied=True),
    _preset("qwen3-8b", "Qwen/Qwen3-8B", "qwen3", 8_190_735_360, 151936, 4096, 12288, 36, 32, 8, 40960),
    _preset("qwen3-14b", "Qwen/Qwen3-14B", "qwen3", 14_768_307_200, 151936, 5120, 17408, 40, 40, 8, 40960),
    _preset("qwen3-32b", "Qwen/Qwen3-32B", "qwen3", 32_762_123_264, 151936, 5120, 25600, 64, 64, 8, 40960),
    _preset("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", "qwen3_moe", 30_532_122_624, 151936, 2048, 6144, 48, 32, 4, 40960,
            head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768),
    _preset("gemma-2-2b", "google/gemma-2-2b", "gemma2", 2_614_341_888,
            256000, 2304, 9216, 26, 8, 4, 8192, tied=True, head_dim=256),
    _preset("gemma-2-9b", "google/gemma-2-9b", "gemma2", 9_241_705_984,
            256000, 3584, 14336, 42, 16, 8, 8192, tied=True, head_dim=256),
    _preset("gemma-2-27b", "google/gemma-2-27b", "gemma2", 27_227_128_320,
            256000, 4608, 36864, 46, 32, 16, 8192, tied=True, head_dim=128),
    _preset("gemma-3-1b", "google/gemma-3-1b-pt", "gemma3_text", 999_885_952,
            262144, 1152, 6912, 26, 4, 1, 32768, tied=True, head_dim=256, sliding_window=512),
    # Without the vision tower and its projector, with which the hub counts 4,300,079,472.
    _preset("gemma-3-4b-text", "google/gemma-3-4b-pt", "gemma3_text", 3_880_263_168,
            262208, 2560, 10240, 34, 8, 4, 131072, tied=True, head_dim=256, sliding_window=1024),
    _preset("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct", "phi3", 3_821_079_552,
            32064, 3072, 8192, 32, 32, 32, 4096, sliding_window=2047),
    _preset("phi-4", "microsoft/phi-4", "phi3", 14_659_507_200, 100352, 5120, 17920, 40, 40, 10, 16384),
    _preset("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", "llama", 134_515_008,
            49152, 576, 1536, 30, 9, 3, 8192, tied=True),
    _preset("smollm2-360m", "HuggingFaceTB/SmolLM2-360M", "llama", 361_821_120,
            49152, 960, 2560, 32, 15, 5, 8192, tied=True),
    _preset("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B", "llama", 1_711_376_384,
            49152, 2048, 8192, 24, 32, 32, 8192, tied=True),
    _gpt2("gpt2", "openai-community/gpt2", 124_439_808, 768, 12, 12),
    _gpt2("gpt2-medium", "openai-community/gpt2-medium", 354_823_168, 1024, 24, 16),
    _gpt2("gpt2-large", "openai-community/gpt2-large", 774_030_080, 1280, 36, 20),
    _gpt2("gpt2-xl", "openai-community/gpt2-xl", 1_557_611_200, 1600, 48, 25),
)}
# fmt: on
"""The models whose sizes `estimate` knows, by name."""

_BY_NAME = PRESETS | {preset.hub.lower(): preset for preset in PRESETS.values()}

# What the classes of configs fill in, where a preset does not say and memory depends on it.
_GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
}
_DEFAULTS = {"tie_word_embeddings": False, "head_dim": None, "sliding_window": None, "layer_types": None}
_CLASS_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 4096},
    "gpt2": {
        "vocab_size": 50257,
        "max_position_embeddings": 1024,
        "n_inner": None,
        "attn_pdrop": 0.1,
        "resid_pdrop": 0.1,
        "tie_word_embeddings": True,
    },
    "gemma2": {
        "sliding_window": 4096,
        "layer_types": ("sliding_attention", "full_attention"),  # again and again
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {"layer_types": (*5 * ("sliding_attention",), "full_attention")},
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {"decoder_sparse_step": 1, "mlp_only_layers": None},
}
