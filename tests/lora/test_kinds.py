"""LoRA on the other kinds of layers: an embedding, and GPT-2's Conv1D, which keeps its weight turned round."""

import peft
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_lab import lora
from lora_lab.lora import LoRAConfig, LoRAEmbedding
from tests.helpers.families import IDS, tiny_classifier, tiny_gpt2
from tests.helpers.models import assert_same, randomise, snapshot

TABLE = LoRAConfig(r=3, alpha=12, target_modules=("word_embeddings", "query"))


def trained(table: nn.Embedding, ids: torch.Tensor, steps: int = 3) -> LoRAEmbedding:
    layer = LoRAEmbedding(table, LoRAConfig(r=3, alpha=12))
    optimizer = torch.optim.AdamW([layer.lora_A, layer.lora_B], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        layer(ids).sub(1).square().sum().backward()
        optimizer.step()
    return layer


def test_an_id_that_never_occurs_keeps_its_row():
    torch.manual_seed(0)
    layer = trained(nn.Embedding(11, 5), torch.tensor([[1, 4, 4], [7, 1, 9]]))
    moved = layer.delta_weight().abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == [1, 4, 7, 9]


def test_the_row_of_padding_does_not_train():
    torch.manual_seed(0)
    layer = trained(nn.Embedding(11, 5, padding_idx=2), torch.tensor([[1, 2, 4, 2]]))
    assert not layer.delta_weight()[2].any() and layer.delta_weight()[1].all()


def test_an_embedding_s_row_moves_by_the_equation():
    torch.manual_seed(0)
    base = nn.Embedding(11, 5).double()
    layer = LoRAEmbedding(base, LoRAConfig(r=3, alpha=12))
    nn.init.normal_(layer.lora_A)
    ids = torch.tensor([[1, 4, 4], [7, 1, 9]])
    one_hot = nn.functional.one_hot(ids, 11).double()
    wanted = one_hot @ base.weight + 4 * one_hot @ layer.lora_A.T @ layer.lora_B.T
    torch.testing.assert_close(layer(ids), wanted)
    torch.testing.assert_close(layer.merged_layer()(ids), wanted)


def test_an_embedding_s_folder_goes_to_peft_and_back(tmp_path):
    model = lora.inject(tiny_classifier(), TABLE)
    with torch.no_grad():
        for layer in lora.adapters(model).values():
            layer.lora_A.add_(torch.randn_like(layer.lora_A), alpha=0.1)
            layer.lora_B.add_(torch.randn_like(layer.lora_B), alpha=0.1)
    lora.save_adapter(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(tiny_classifier(), tmp_path / "ours").eval()
    assert torch.allclose(theirs(IDS).logits, model(IDS).logits, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")
    again = lora.load_adapter(tiny_classifier(), tmp_path / "theirs")
    assert torch.equal(again(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
def test_a_merged_conv1d_is_a_conv1d_that_computes_the_same(init):
    model = tiny_gpt2()
    config = LoRAConfig(r=4, target_modules=("attn.c_proj", "c_attn"), init=init)  # square, and not
    before = snapshot(model)
    randomise(lora.inject(model, config))
    logits = model(IDS).logits
    torch.testing.assert_close(lora.merge(model)(IDS).logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lora.merge_and_remove(model)(IDS).logits, logits, rtol=1e-4, atol=1e-5)
    assert type(model.transformer.h[0].attn.c_proj) is Conv1D
    after = model.state_dict()
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in before.items()}
    again = tiny_gpt2()
    assert_same(lora.remove(randomise(lora.inject(again, config))), before)
