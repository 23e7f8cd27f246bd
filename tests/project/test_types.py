"""A misspelled choice is seen by mypy, and so by an editor, before anything runs; the right spelling passes."""

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
HEAD = """\
import random
from typing import Any
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedConfig
import lora_lab
from lora_lab import data, lora, memory, models, quant, train
from lora_lab.data import world
model: Any = None
tokenizer: Any = None
task: Any = None
config: PreTrainedConfig = None
typed: nn.GRU
person: world.Person
net: nn.Bilinear = nn.Bilinear(1, 1, 1)
pair: tuple[Tensor, Tensor] = (Tensor(), Tensor())
"""
PAIRS = [  # misspelled, right
    ('memory.estimate("gpt2", "qlorra")', 'memory.estimate("gpt2", "qlora")'),
    ('memory.estimate("gpt2", batchsize=2)', 'memory.estimate("gpt2", batch_size=2)'),
    ('memory.estimate("gpt2", optimizer="adam")', 'memory.estimate("gpt2", optimizer="adamw")'),
    ('memory.estimate("gpt2", precision="fp8")', 'memory.estimate("gpt2", precision="bf16")'),
    ('memory.estimate("gpt2", attention="spda")', 'memory.estimate("gpt2", attention="sdpa")'),
    ('memory.estimate("gpt2", offload="weight")', 'memory.estimate("gpt2", offload="weights")'),
    ('memory.estimate("gpt2", adapter_dtype="f32")', 'memory.estimate("gpt2", adapter_dtype="fp32")'),
    ('memory.estimate("gpt2", r="8")', 'memory.estimate("gpt2", r=8)'),
    ('memory.simulate("gpt2", "lorra")', 'memory.simulate("gpt2", "lora")'),
    ('memory.simulate("gpt2", seqlen=8)', 'memory.simulate("gpt2", seq_len=8)'),
    ('memory.fit(16, "batch", "gpt2")', 'memory.fit(16, "batch_size", "gpt2")'),
    ('memory.fit(16, "r", "gpt2", "lorra")', 'memory.fit(16, "r", "gpt2", "lora")'),
    ('memory.fit(16, config="gpt2", seqlen=8)', 'memory.fit(16, config="gpt2", seq_len=8)'),
    ('memory.cheapest_method("gpt2", 16)', 'memory.cheapest_method(16, "gpt2")'),
    ('memory.cheapest_method(16, "gpt2", checkpointing=True)', 'memory.cheapest_method(16, "gpt2", seq_len=8)'),
    ('memory.Setup(config, "qlorra")', 'memory.Setup(config, "qlora")'),
    ('memory.Setup(config, optimizer="adam")', 'memory.Setup(config, optimizer="sgd")'),
    ('memory.flops_per_token("gpt2", "lorra")', 'memory.flops_per_token("gpt2", "lora")'),
    ('memory.tokens_per_second("gpt2", "t4", "lorra")', 'memory.tokens_per_second("gpt2", "t4", "lora")'),
    ('train.prepare(model, "qlorra")', 'train.prepare(model, "qlora")'),
    ('train.finetune(model, tokenizer, task, "qlorra")', 'train.finetune(model, tokenizer, task, "qlora")'),
    ('train.finetune(model, tokenizer, task, "qlora", batchsize=2)',
     'train.finetune(model, tokenizer, task, "qlora", batch_size=2)'),
    ('train.fit(3, [])', 'train.fit(net, [])'),
    ('train.fit(model, [], batchsize=2)', 'train.fit(model, [], batch_size=2)'),
    ('train.finetune(model, tokenizer, task, "qlora", steps="many")',
     'train.finetune(model, tokenizer, task, "qlora", steps=9)'),
    ('other: nn.Linear = train.prepare(net, "full")', 'same: nn.Bilinear = train.prepare(net, "full")'),
    ('train.loop.run(net, [1], train.losses.cross_entropy, steps=1)',
     'train.loop.run(net, [pair], train.losses.cross_entropy, steps=1)'),
    ('train.loop.run(net, [pair], net.forward, steps=1)',
     'train.loop.run(net, [pair], train.losses.squared_error, steps=1)'),
    ('train.loop.run(net, [pair], train.losses.squared_error, steps=1, warmup=3)',
     'train.loop.run(net, [pair], train.losses.squared_error, steps=1, schedule=train.schedules.cosine(3))'),
    ('train.loop.run(net, [pair], train.losses.squared_error, steps=1, optimizer=1e-3)',
     'train.loop.run(net, [pair], train.losses.squared_error, steps=1, optimizer=train.optimizers.adamw(1e-3))'),
    ('lora.LoRAConfig(init="kaimin")', 'lora.LoRAConfig(init="kaiming")'),
    ('q1: nn.Linear = quant.quantize_model(nn.Sequential())',
     'q2: nn.Sequential = quant.quantize_model(nn.Sequential())'),
    ('d1: nn.Linear = quant.dequantize_model(nn.Sequential())',
     'd2: nn.Sequential = quant.dequantize_model(nn.Sequential())'),
    ('b1: nn.Linear = quant.load_bitsandbytes(nn.Sequential(), "x")',
     'b2: nn.Sequential = quant.load_bitsandbytes(nn.Sequential(), "x")'),
    ('quant.quantize_model(model, codebook="NF4")', 'quant.quantize_model(model, codebook=quant.NF4)'),
    ('models.load_base("cuda")', 'models.load_base("cpu")'),
    ('models.get_tier("a12")', 'models.get_tier("a100")'),
    ('models.get_tier().lr("qlorra")', 'models.get_tier().lr("qlora")'),
    ('models.choose_dtype("gpu")', 'models.choose_dtype("cuda")'),
    ('world.stranger(random.Random(0), "held out")', 'world.stranger(random.Random(0), "heldout")'),
    ('world.state(person, "color", "full", 0)', 'world.state(person, "colour", "full", 0)'),
    ('world.ask(person, "job", "last", 0)', 'world.ask(person, "job", "first", 0)'),
    ('one: nn.Linear = quant.load_bitsandbytes(typed, "it")', 'two: nn.GRU = quant.load_bitsandbytes(typed, "it")'),
    ('lora_lab.lowrank.no_such_name(torch.ones(2, 2))', 'lora_lab.lowrank.stable_rank(torch.ones(2, 2))'),
    ('from lora_lab import lorra', 'from lora_lab import lora'),
]  # fmt: skip


@pytest.fixture(scope="module")
def complaints(tmp_path_factory) -> tuple[dict[int, str], str]:
    """What mypy says by line of a file that holds every misspelled line and then every right one; one run for all."""
    snippet = tmp_path_factory.mktemp("types") / "snippet.py"
    snippet.write_text(HEAD + "\n".join([*(wrong for wrong, _ in PAIRS), *(right for _, right in PAIRS)]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("MYPYPATH", str(ROOT))
        out, err, _ = api.run(["--config-file", "pyproject.toml", "--no-error-summary", str(snippet)])
    found: dict[int, str] = {}
    for line in out.splitlines():
        path, number, said = line.split(":", 2)
        if Path(path).name == snippet.name and ": error:" in line:  # out of its cache mypy gives an older folder
            found.setdefault(int(number), said)
    return found, out + err


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[wrong for wrong, _ in PAIRS])
def test_mypy_rejects_the_misspelled_line_and_takes_the_right_one(complaints, number):
    found, said = complaints
    first = HEAD.count("\n") + 1
    assert first + number in found, f"mypy takes {PAIRS[number][0]}\n{said}"
    assert first + len(PAIRS) + number not in found, said


@pytest.mark.slow
def test_mypy_has_nothing_against_the_rest(complaints):
    found, said = complaints
    first = HEAD.count("\n") + 1
    assert not [number for number in found if not first <= number < first + len(PAIRS)], said
