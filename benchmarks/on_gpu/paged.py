"""A long sequence among short ones, under a limit: what it does to AdamW, and to bitsandbytes' paged one.

The limit holds for torch's allocator. Paged states live outside of it, in memory that the driver moves between card and
host; there is always room for them on the card here, because asking for more managed memory than a card has free can
stop it. So that they survive is shown, and what it costs when they come back from the host is measured by touching them
there. (bitsandbytes' own way to send them, `prefetch_tensor(to_cpu=True)`, ends the process under CUDA 13.)
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from on_gpu.common import Run, spread
from on_gpu.steps import toy_config
from transformers import AutoModelForCausalLM

from lora_lab.memory.presets import load_config
from lora_lab.units import first_line

Row = dict[str, Any]
Make = Callable[[Any], torch.optim.Optimizer]

HOST = "states on the host before each step"


def rows(run: Run) -> Iterator[Row]:
    """Full fine-tuning in fp32 (SmolLM2-360M's sizes): peaks without a limit, then each optimizer under it.

    At last the paged ones with their states on the host.
    """
    import bitsandbytes.optim as bnb

    short, long = (16, 64) if run.toy else (128, 2048)
    cap = None
    if run.device == "cuda":
        of_short, of_long, states = _Trial(run, _plain).peaks(short, long)
        cap = of_long - states // 2  # a limit that the short one meets and the long one, with all states, does not
        yield {"what": "without a limit", "optimizer": "AdamW", "short": short, "long": long, "peak_short": of_short,
               "peak_long": of_long, "states": states, "limit_chosen": cap, "short_fits": of_short < cap}  # fmt: skip
    optimizers: dict[str, Make] = {
        "AdamW": _plain,
        "AdamW8bit": partial(bnb.AdamW8bit, lr=1e-5),
        "PagedAdamW": partial(bnb.PagedAdamW32bit, lr=1e-5),
        "PagedAdamW8bit": partial(bnb.PagedAdamW8bit, lr=1e-5),
    }
    for name, make in optimizers.items():
        run.free()
        row: Row = {"what": "under a limit", "optimizer": name, "limit": cap, "short": short, "long": long}
        yield row | _Trial(run, make).under(cap, short, long)
    for name in ("PagedAdamW", "PagedAdamW8bit") if run.device == "cuda" else ():
        run.free()
        yield {"what": HOST, "optimizer": name, "short": short} | _Trial(run, optimizers[name]).from_the_host(short)


def _plain(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-5, fused=True)


class _Trial:
    """One model and one optimizer."""

    def __init__(self, run: Run, make: Make) -> None:
        torch.manual_seed(0)
        config = toy_config() if run.toy else load_config("smollm2-360m")
        with torch.device(run.device):
            self.model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
        self.run, self.optimizer = run, make(list(self.model.parameters()))

    def step(self, length: int) -> None:
        ids = torch.randint(512, (1, length), device=self.run.device)
        self.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.run.synchronize()

    def peaks(self, short: int, long: int) -> tuple[int, int, int]:
        """Peak of a short and of a long step, and the bytes of AdamW's states."""
        self.step(short)
        found = []
        for length in (short, long):
            torch.cuda.reset_peak_memory_stats()
            self.step(length)
            found.append(torch.cuda.max_memory_allocated())
        return found[0], found[1], sum(t.nbytes for t in self._states())

    def under(self, cap: int | None, short: int, long: int) -> Row:
        """What becomes of short, long, short."""
        if cap:
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(cap / torch.cuda.get_device_properties(0).total_memory)
            torch.cuda.reset_peak_memory_stats()
        row: Row = {"short_step": "out of memory", "long_step": "not tried"}
        try:
            self.step(short)
            row |= {"short_step": "survived", "ms": self._times(short), "long_step": "out of memory"}
            self.step(long)
            self.step(short)
            row["long_step"] = "survived" if cap else "survived: nothing limits it here"
        except torch.OutOfMemoryError as error:
            row["said"] = first_line(error)[:160]
        finally:
            if cap:
                torch.cuda.set_per_process_memory_fraction(1.0)
        paged = [t for t in self._states() if getattr(t, "is_paged", False)]
        row |= {"states": sum(t.nbytes for t in self._states()), "of_them_paged": sum(t.nbytes for t in paged)}
        if cap:
            row["peak_allocated"] = torch.cuda.max_memory_allocated()
        return row

    def from_the_host(self, length: int) -> Row:
        """What a step takes whose states come from the host, as they would where the card is full."""
        self.step(length)
        paged = [state for state in self._states() if getattr(state, "is_paged", False)]
        return self._times(length, before=lambda: _touch(paged)) | {"states": sum(state.nbytes for state in paged)}

    def _states(self) -> list[torch.Tensor]:
        return [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]

    def _times(self, length: int, before: Callable[[], None] = lambda: None) -> Row:
        taken = []
        for _ in range(1 if self.run.toy else 5):
            before()
            self.run.synchronize()
            start = time.perf_counter()
            self.step(length)
            taken.append(1e3 * (time.perf_counter() - start))
        return spread(taken)


def _touch(paged: list[torch.Tensor]) -> None:
    """Write to them on the host, whereupon the driver moves them there: to torch they are tensors of the CPU."""
    for state in paged:
        state.add_(0)
