"""One token through a layer, as when text is generated, by a CUDA graph of many weights in turn.

So the host does not count, and no weight is left in the cache from the time before. A share is of a copy's rate, as
which each way reads what it stores of the weight.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from on_gpu.common import Run, name_of, spread
from on_gpu.speed import copied
from on_gpu.stacks import bitsandbytes_linear
from torch import Tensor
from torch.nn import functional as F

from lora_lab import quant
from lora_lab.quant import products

Row = dict[str, Any]

BEYOND_CACHE = 128e6  # bytes of codes that are read before the first of them again: an H100 caches 50 MB


def rows(run: Run) -> Iterator[Row]:
    """y = x · Wᵀ with the dense weight, by bitsandbytes, and by ours, with the weight made on the way and without."""
    copy = copied(run, 1 if run.toy else 512)[1]
    shapes = ((64, 128),) if run.toy else ((1024, 4096), (4096, 4096), (14336, 4096), (4096, 14336))
    for shape in shapes:
        for dtype in (torch.bfloat16,) if run.toy else (torch.bfloat16, torch.float16):
            torch.manual_seed(0)
            count = 2 if run.toy else max(3, round(BEYOND_CACHE / (shape[0] * shape[1] / 2)))
            weight = (torch.randn(shape, device=run.device) * 0.02).to(dtype)
            x = torch.randn(1, shape[1], device=run.device, dtype=dtype)
            layers = [quant.Linear4bit(quant.quantize(weight, double_quant=True)) for _ in range(count)]
            theirs = [bitsandbytes_linear(weight) for _ in range(count)]
            dense = [weight.clone() for _ in range(max(3, count // 3))]
            ways: dict[str, list[Callable[[], object]]] = {
                "dense": [partial(F.linear, x, each) for each in dense],
                "bitsandbytes": [partial(each, x) for each in theirs],
                "lora_lab, weight made": [partial(_with_the_weight, each, x) for each in layers],
                "lora_lab": [partial(each, x) for each in layers],
            }
            with torch.no_grad(), quant.use_kernels(True):
                taken = {name: _time(run, calls) for name, calls in ways.items()}
            nbytes = layers[0].weight_quantized.nbytes
            for name, times in taken.items():
                read = weight.nbytes if name == "dense" else nbytes
                times["of_copy"] = round(read / copy / 1e6 / times["ms"], 3)
            yield {"what": "one token by a graph", "shape": list(shape), "dtype": name_of(dtype), "weights": count,
                   "bytes": nbytes, "copy_gb_s": copy, "ways": taken}  # fmt: skip
            del layers, theirs, dense, ways
            run.free()


def _with_the_weight(layer: Any, x: Tensor) -> Tensor:
    with mock.patch.object(products, "FEW_TOKENS", {}):
        return layer(x)


def _time(run: Run, calls: list[Callable[[], object]]) -> Row:
    """Of one call, when all are made in turn; quartiles over the graph's replays."""
    calls[0](), calls[-1]()
    run.synchronize()
    if run.device != "cuda":
        return spread([run.once(call) for call in calls])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    return spread([run.once(graph.replay) / len(calls) for _ in range(40)])
