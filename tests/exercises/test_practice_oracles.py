"""What the exercises' checks take for right is what PEFT does."""

import pytest
import torch
from torch import nn

from lora_lab.exercises import tasks

peft = pytest.importorskip("peft")


def small() -> nn.Module:
    return nn.ModuleDict({"block": nn.ModuleDict({"q_proj": nn.Linear(4, 6), "v_proj": nn.Linear(4, 6)}),
                          "head": nn.Linear(4, 3)})  # fmt: skip


def test_a_pattern_means_what_it_means_to_peft():
    from peft.utils.other import get_pattern_key

    from lora_lab.exercises.practice.places_and_starts import _LOOKUPS

    setting_for = tasks.find("setting_for").reference()
    for name, keys, meant, _ in _LOOKUPS:
        pattern = dict(zip(keys, range(1, 9)))
        theirs = pattern.get(get_pattern_key(list(pattern), name), 99)
        assert theirs == setting_for(name, pattern, 99) == (99 if meant is None else meant + 1), (name, keys)


def test_the_names_in_the_file_are_pefts():
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "head"])
    theirs = peft.get_peft_model_state_dict(peft.get_peft_model(small(), config))
    ours = {}
    for name in ("block.q_proj", "head"):
        ours |= {f"{name}.{factor}": torch.zeros(2, 2) for factor in ("lora_A", "lora_B")}
    assert set(tasks.find("peft_tensors").reference()(ours)) == set(theirs)


def test_a_target_means_the_layers_that_it_means_to_peft():
    names = [name for name, module in small().named_modules() if isinstance(module, nn.Linear)]
    adapted_names = tasks.find("adapted_names").reference()
    for targets in (["q_proj"], ["block.v_proj"], ["head", "q_proj"], ["proj"]):
        adapted, _ = adapted_names(names, targets)
        config = peft.LoraConfig(r=2, target_modules=targets)
        from peft.tuners.tuners_utils import check_target_module_exists

        assert adapted == [name for name in names if check_target_module_exists(config, name)]


def test_the_first_output_moves_as_far_at_another_rank():
    """Adam's first step moves every number of B by the rate, so an output by s · rate · Σ|A x| over r terms."""
    alpha_for = tasks.find("alpha_for").reference()
    for r, new_r, new_use_rslora in ((16, 64, False), (16, 64, True), (64, 16, True)):
        new_alpha = alpha_for(32, r, False, new_r, new_use_rslora)
        new_s = new_alpha / (new_r**0.5 if new_use_rslora else new_r)
        assert new_s * new_r == pytest.approx(32 / r * r)


def test_the_puzzles_best_is_what_the_reference_reaches_whatever_is_drawn():
    check, rule = tasks.find("FewSteps").passes, tasks.find("FewSteps").reference()
    for seed in range(20):
        torch.manual_seed(seed)
        score = check(rule)
        assert score is not None and score.used == score.best
