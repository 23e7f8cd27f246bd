"""`lora-lab memory` and the explorable: the answer first, in words and in bytes, or one sentence."""

import errno
import json
import os
import pathlib
import shlex
import subprocess
import sys
from dataclasses import fields

import pytest

from lora_lab import memory, records
from lora_lab.commands import cli
from lora_lab.commands.memory_options import SETTINGS
from lora_lab.commands.memory_room import Room, parse_bytes
from lora_lab.commands.memory_verdict import ways_out
from lora_lab.memory.stacks import STACK_NAMES

ROOT = pathlib.Path(cli.__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["memory", *words])
    out, err = capsys.readouterr()
    return status, out, err


def answer(capsys: pytest.CaptureFixture[str], words: str) -> dict:
    """What --json says."""
    cli.main(["memory", *shlex.split(words), "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_answer_names_peak_phase_units_and_gpus(capsys):
    status, out, _ = run(capsys, *"llama-3.1-8b --method qlora --r 16 --batch-size 1 --seq-len 2048".split())
    wanted = memory.estimate("llama-3.1-8b", "qlora", stack="peft")
    assert status == 0
    assert f"{wanted.peak_bytes / 1e9:.3f} GB ({wanted.peak_bytes / 2**30:.3f} GiB)" in out
    assert wanted.peak_phase in out and "Known error" in out and "Fits on: " in out


def test_json_holds_the_estimate_in_bytes(capsys):
    _, out, _ = run(capsys, "smollm2-135m", "--json", "--target-modules", "q_proj,v_proj", "--budget", "2GiB")
    record = json.loads(out)
    wanted = memory.estimate("smollm2-135m", "qlora", target_modules=("q_proj", "v_proj"), stack="peft")
    assert record["peak_bytes"] == wanted.peak_bytes == sum(record["components"].values())
    assert record["trainable_params"] == wanted.trainable_params
    assert record["budget_bytes"] == 2 * 2**30 and record["unit"] == "bytes"
    assert record["setup"]["stack"] == "peft" and record["setup"]["upcast_frozen"] is True


# The verdict


@pytest.mark.parametrize(
    ("words", "status", "begins"),
    [
        ("smollm2-135m --gpu t4 --seq-len 256", 0, "Fits: "),
        ("llama-3.1-8b --gpu t4", 4, "Uncertain: "),
        ("llama-3.1-8b --gpu t4 --method full", 3, "Does not fit: "),
        ("llama-3.1-8b --budget 21GB", 0, "Fits: "),
        ("llama-3.1-8b --budget 16GB", 4, "Uncertain: "),
        ("llama-3.1-8b --budget 13GiB", 3, "Does not fit: "),
        ("llama-3.1-8b --budget 13.1GiB", 4, "Uncertain, and unlikely: "),
        ("llama-3.1-8b", 0, "Needs "),
    ],
)
def test_the_first_line_is_the_verdict_with_its_numbers_and_the_exit_status_says_it_too(capsys, words, status, begins):
    found, out, _ = run(capsys, *words.split())
    first = out.splitlines()[0]
    assert found == status and first.startswith(begins)
    assert "GiB of tensors" in first or "MiB of tensors" in first
    assert out.splitlines()[1].startswith("Why: the peak is in the phase")


@pytest.mark.parametrize("model", ["smollm2-360m", "llama-3.1-8b", "gemma-2-9b", "qwen2.5-72b"])
@pytest.mark.parametrize("share", [0.5, 0.99, 1.01, 1.2, 1.8])
def test_it_is_uncertain_between_the_tensors_and_the_upper_end_of_the_process(capsys, model, share):
    peak = answer(capsys, model)["peak_bytes"]
    room = round(share * peak)
    wanted = "does not fit" if room < peak else "fits" if memory.process_bytes(peak)[1] <= room else "uncertain"
    found = answer(capsys, f"{model} --budget {room / 2**30:.9f}GiB")
    assert found["verdict"] == wanted
    assert found["fits"] is {"fits": True, "uncertain": None, "does not fit": False}[wanted]


@pytest.mark.parametrize(
    "words",
    [
        "llama-3.1-8b --gpu t4",
        "llama-3.1-8b --gpu t4 --method full",
        "llama-3.3-70b --gpu a100-80gb --seq-len 4096 --batch-size 4",
        "gemma-2-9b --gpu t4 --stack peft-loop",
        "qwen2.5-7b --gpu 4090 --method full --stack torchtune",
        "gpt2-xl --gpu 3070 --method lora --batch-size 8 --accumulation 2",
    ],
)
def test_each_way_out_saves_what_it_says_when_it_is_typed(capsys, words):
    before = answer(capsys, words)
    ways = [*before["ways_out"], *([before["together"]] if before["together"] else [])]
    assert before["verdict"] != "fits" and any(way["answer"] == "fits" for way in ways)
    for way in ways:
        after = answer(capsys, f"{words} {way['flags']}")
        assert after["peak_bytes"] == way["peak_bytes"] == before["peak_bytes"] - way["saves_bytes"]
        assert after["verdict"] == way["answer"]
    text = run(capsys, *words.split())[1]
    assert all(way["flags"] in text for way in ways)


@pytest.mark.parametrize(
    ("words", "has", "lacks"),
    [
        ("llama-3.1-8b --stack peft --batch-size 4", {"fused_loss"}, {"chunked_loss"}),
        ("llama-3.1-8b --stack peft --method full", {"fused_loss"}, {"optimizer_in_backward", "chunked_loss"}),
        ("gpt2-xl --stack peft --batch-size 16", {"batch_size"}, {"fused_loss", "chunked_loss"}),
        ("llama-3.1-8b --stack peft-loop --method full --seq-len 128", {"optimizer_in_backward"}, {"fused_loss"}),
        ("llama-3.1-8b --stack peft-loop --batch-size 4", {"chunked_loss"}, {"fused_loss"}),
        (
            "llama-3.1-8b --stack peft-loop --method full --seq-len 128 --precision fp16",
            {"method"},
            {"optimizer_in_backward"},
        ),
        ("llama-3.1-8b --stack lora_lab --method full", {"method"}, {"fused_loss", "chunked_loss"}),
    ],
)
def test_a_way_out_is_one_that_the_stack_has(capsys, words, has, lacks):
    found = answer(capsys, f"{words} --gpu t4")
    offered = {name for way in [*found["ways_out"], found["together"] or {"change": {}}] for name in way["change"]}
    assert has <= offered and not lacks & offered


class Made:
    """A question whose answers are written down: changes in turn, and bytes."""

    def __init__(self, *steps, needs):
        self.steps, self.of = steps, needs

    def needs(self, typed):
        return self.of(typed) * 2**30

    def changes(self, typed, room):
        return iter([step for step in self.steps if not step.keys() <= typed.keys()])


def test_what_together_is_not_enough_names_no_flag_that_does_nothing():
    def needs(typed):
        return (50 if "dropout" in typed else 95 if "double_quant" in typed else 100) - 5 * ("offload" in typed)

    question = Made({"double_quant": True}, {"dropout": 0}, {"offload": "weights"}, needs=needs)
    singles, together = ways_out(question, {}, Room(44 * 2**30, "given"))
    assert len(singles) == 3 and together.flags == "--dropout 0 --offload weights"


@pytest.mark.parametrize(("gib", "answered"), [(40, None), (46, None), (50, "uncertain"), (80, "fits")])
def test_the_shortest_sequence_is_offered_only_for_a_likely_fit_and_unlikely_is_said(gib, answered):
    def needs(typed):
        return 100 - 25 * ("dropout" in typed) - 30 * ("seq_len" in typed)

    question = Made({"dropout": 0}, {"seq_len": 256}, needs=needs)
    singles, together = ways_out(question, {}, Room(gib * 2**30, "given"))
    assert (together and together.answer) == answered
    if gib == 80:
        assert [way.said for way in singles] == ["uncertain", "uncertain"]
    assert ways_out(question, {}, Room(71 * 2**30, "given"))[0][0].said == "uncertain, and unlikely"


def test_a_way_out_keeps_the_batch_of_an_update_and_is_no_longer_than_needed(capsys):
    found = answer(capsys, "llama-3.3-70b --gpu a100-80gb --seq-len 4096 --batch-size 4")
    assert found["together"]["flags"] == "--batch-size 1 --accumulation 4 --no-upcast-frozen"
    for left_out in ("--batch-size 1 --accumulation 4", "--no-upcast-frozen"):
        less = answer(capsys, "llama-3.3-70b --gpu a100-80gb --seq-len 4096 --batch-size 4 " + left_out)
        assert less["verdict"] != "fits"


def test_what_nothing_helps_is_said_and_a_larger_card_is_named(capsys):
    status, out, _ = run(capsys, *"llama-3.1-70b --gpu t4 --batch-size 8".split())
    assert status == 3 and "None of these would make it fit" in out and "or a larger card: --gpu" in out


def test_a_larger_card_can_be_typed_in_place_of_the_budget(capsys):
    _, out, _ = run(capsys, *"llama-3.1-8b --budget 12GB".split())
    assert "  or a larger card, in place of --budget: --gpu rtx-3090" in out
    assert "in place of" not in run(capsys, *"llama-3.1-8b --gpu t4".split())[1]


def test_ten_million_tokens_and_400_digits_of_budget_are_one_sentence(capsys):
    for words in (["--seq-len", "10000000"], ["--budget", "9" * 400 + "GB"], ["--batch-size", "9" * 18]):
        status, out, err = run(capsys, "llama-3.1-8b", *words)
        assert (status, out) == (2, "") or words[0] == "--batch-size"
        assert err.count("\n") <= 1


@pytest.mark.parametrize("layers", [10**7, 10**400, -1, 0])
def test_a_config_with_ten_million_layers_is_refused_at_once(capsys, tmp_path, layers):
    config = {"model_type": "llama", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128,
              "num_hidden_layers": layers, "num_attention_heads": 4, "max_position_embeddings": 256}  # fmt: skip
    sys.set_int_max_str_digits(0)
    (tmp_path / "config.json").write_text(json.dumps(config))
    sys.set_int_max_str_digits(4300)
    status, out, err = run(capsys, str(tmp_path))
    assert (status, out) == (2, "") and "num_hidden_layers" in err and err.count("\n") == 1


# Stacks and their errors


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A record of measured runs, in the place of the package's."""

    def write(content: object) -> None:
        (tmp_path / "memory_world.json").write_text(json.dumps(content))

    monkeypatch.setattr(records, "FOLDER", tmp_path)
    return write


RUNS = {"runs": 39, "median": 0.005, "worst": 0.031, "where": "Tesla T4", "parameters": 8_030_261_248}


def test_each_stack_and_method_prints_its_own_error_against_measured_runs_and_no_other(capsys, world):
    world({"methods": {"peft-loop": {"qlora": RUNS}}})
    _, out, _ = run(capsys, "smollm2-135m", "--stack", "peft-loop")
    said = "0.5 % in the median and 3.1 % at most against 39 QLoRA runs of this stack, of at most 8B on Tesla T4"
    assert f"Known error: {said}" in out
    wanted = {"method": "qlora", "how": None, "unstated": None} | RUNS
    assert answer(capsys, "smollm2-135m --stack peft-loop")["stack_error"] == wanted
    for words, what in (("peft", "QLoRA"), ("lora_lab", "QLoRA"), ("torchtune", "QLoRA"),
                        ("peft-loop --method lora", "LoRA"), ("peft-loop --method full", "full fine-tuning"),
                        ("peft-loop --base int8", "int8 QLoRA")):  # fmt: skip
        _, out, _ = run(capsys, "smollm2-135m", "--stack", *words.split())
        assert f"Known error: no {what} run of this stack was measured" in out and "% at most" not in out
        assert answer(capsys, f"smollm2-135m --stack {words}")["stack_error"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stack peft", "against 5 QLoRA runs of this stack, of at most 8B on H100, in a loop under autocast as the "
         "Trainer's"),
        ("--stack peft --method lora", "no LoRA run of this stack was measured"),
        ("--stack torchtune --method lora", "4.3 % against 1 LoRA run of this stack, of 8B on RTX 4090; 4 more on an "
         "unnamed card were predicted 8 to 9 % too low"),
    ],
)  # fmt: skip
def test_the_known_error_claims_no_more_than_the_runs_that_were_measured(capsys, words, said):
    assert said in answer(capsys, f"llama-3.1-70b {words}")["known_error"]


@pytest.mark.parametrize(
    "content", [None, {}, {"methods": {}}, {"methods": {"peft": {}}}, {"methods": {"peft": {"qlora": {"runs": 0}}}}],
    ids=repr,
)  # fmt: skip
def test_without_a_record_of_the_stack_nothing_is_claimed(capsys, world, content):
    if content is not None:
        world(content)
    status, out, _ = run(capsys, "smollm2-135m")
    assert status == 0 and "no QLoRA run of this stack was measured" in out and "1.2 %" not in out


@pytest.mark.parametrize("method", memory.METHODS)
@pytest.mark.parametrize("stack", STACK_NAMES)
def test_a_flag_that_is_not_given_leaves_what_the_stack_sets(capsys, stack, method):
    found = answer(capsys, f"llama-3.2-1b --stack {stack} --method {method} --seq-len 512")
    assert found["peak_bytes"] == memory.estimate("llama-3.2-1b", method, stack=stack, seq_len=512).peak_bytes
    _, out, _ = run(capsys, *f"llama-3.2-1b --stack {stack} --method {method}".split())
    (line,) = [line for line in out.splitlines() if line.startswith("Stack: ")]
    assert line.startswith(f"Stack: {stack}, ") and "it sets " in line


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--double-quant", {"double_quant": True}),
        ("--no-checkpointing", {"checkpointing": False}),
        ("--no-upcast-frozen", {"upcast_frozen": False}),
        ("--keep-outputs", {"keep_outputs": True}),
        ("--chunked-loss 64", {"chunked_loss": 64}),
        ("--accumulation 4", {"accumulation": 4}),
        ("--block-size 128", {"block_size": 128}),
        ("--adapter-dtype bf16", {"adapter_dtype": "bf16"}),
        ("--precision fp16", {"precision": "fp16"}),
        ("--dropout 0.1", {"dropout": 0.1}),
        ("--precision bf16", {"precision": "bf16", "upcast_frozen": False}),
        ("--stack peft-loop --chunked-loss 64", {"stack": "peft-loop", "chunked_loss": 64, "keep_outputs": False}),
        ("--stack torchtune --keep-outputs", {"stack": "torchtune", "chunked_loss": None, "keep_outputs": True}),
        ("--stack torchtune --fused-loss", {"stack": "torchtune", "chunked_loss": None, "fused_loss": True}),
        ("--stack peft-loop --fused-loss", {"stack": "peft-loop", "keep_outputs": False, "fused_loss": True}),
        ("--stack Torchtune", {"stack": "torchtune"}),
        ("--optimizer adamw_torch_fused", {}),
        ("--optimizer adamw_torch", {}),
        ("--optimizer adamw_bnb_8bit", {"optimizer": "adamw8bit"}),
        ("--optimizer paged_adamw_8bit", {"optimizer": "paged_adamw8bit"}),
        ("--optimizer paged_adamw_32bit", {"optimizer": "paged_adamw"}),
        ("--optimizer adafactor", {"optimizer": "adafactor"}),
        ("--optimizer sgd", {"optimizer": "sgd"}),
        ("--attention flash_attention_2", {"attention": "sdpa"}),
        ("--attention eager", {"attention": "eager"}),
    ],
)  # fmt: skip
def test_every_flag_is_the_setting_of_an_estimate(capsys, words, options):
    found = answer(capsys, f"smollm2-135m --seq-len 128 {words}")
    wanted = memory.estimate("smollm2-135m", "qlora", **({"seq_len": 128, "stack": "peft"} | options))
    assert found["peak_bytes"] == wanted.peak_bytes and found["components"] == dict(wanted.components)


def test_accumulated_batches_rule_out_the_stacks_update_within_the_backward_pass(capsys):
    found = answer(capsys, "smollm2-135m --stack torchtune --method full --accumulation 4")
    options = {"stack": "torchtune", "accumulation": 4, "optimizer_in_backward": False}
    assert found["peak_bytes"] == memory.estimate("smollm2-135m", "full", **options).peak_bytes
    assert any("the stack's --optimizer-in-backward does not go with" in said for said in found["remarks"])


def test_all_that_an_estimate_knows_but_the_device_can_be_typed():
    assert {field.name for field in fields(memory.Setup)} - {"config", "device"} == set(SETTINGS)


def test_paged_32_bit_states_of_small_tensors_stay_on_the_device(capsys):
    adamw, paged = (
        answer(capsys, f"llama-3.1-8b --optimizer {name}")["components"]["optimizer states"]
        for name in ("adamw_torch", "paged_adamw_32bit")
    )
    assert 0 < paged < adamw  # A of rank 16 has 65,536 values, and states are paged from 100,000 on


# Names as people type them


@pytest.mark.parametrize(
    ("typed", "counted"),
    [
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("llama-3.3-70b", "llama-3.1-70b"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "llama-3.1-8b"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
        ("Llama 3.1 8B", "llama-3.1-8b"),
    ],
)
def test_a_model_under_its_name_on_the_hub_or_near_it_is_counted_and_the_preset_is_named(capsys, typed, counted):
    found = answer(capsys, f"'{typed}'")
    assert found["counted_as"] == counted and found["peak_bytes"] == answer(capsys, counted)["peak_bytes"]
    own = typed.lower() in (counted, memory.PRESETS[counted].hub.lower())
    assert own or f"'{typed}' is counted as the preset {counted}" in found["remarks"][0]


@pytest.mark.parametrize(
    "typed", ["llama-3.1-9b", "instruct", "meta-llama/", "./llama-3.1-8b-instruct", "a/b/llama-3.1-8b-it"]
)
def test_what_is_no_known_model_is_not_taken_for_one(capsys, typed):
    status, out, err = run(capsys, typed)
    assert (status, out) == (2, "") and "neither a preset nor a config.json" in err and err.count("\n") == 1


def test_a_config_file_and_its_folder_are_counted_as_what_they_say(capsys, tmp_path):
    memory.load_config("smollm2-135m").save_pretrained(tmp_path)
    wanted = answer(capsys, "smollm2-135m")["peak_bytes"]
    for typed in (tmp_path, tmp_path / "config.json"):
        found = answer(capsys, str(typed))
        assert found["peak_bytes"] == wanted and found["counted_as"] is None


@pytest.mark.parametrize(
    ("typed", "gpu", "count"),
    [("4090", "rtx-4090", 1), ("a100", "a100-40gb", 1), ("rtx 3060 12gb", "rtx-3060-12gb", 1), ("2xt4", "t4", 2)],
)
def test_a_gpu_under_the_name_that_people_type_is_found_and_several_are_said(capsys, typed, gpu, count):
    found = answer(capsys, f"smollm2-135m --gpu '{typed}'")
    assert (found["gpu"]["name"], found["gpu_count"]) == (gpu, count)
    said = " ".join(found["remarks"])
    assert ("a100-80gb" in said) == (typed == "a100") and ("each of 2 cards" in said) == (count == 2)


@pytest.mark.parametrize("typed", ["rtx-4080", "a40"])
def test_memory_that_is_only_advertised_is_called_so(capsys, typed):
    _, out, _ = run(capsys, "smollm2-135m", "--gpu", typed)
    assert "as advertised on" in out.splitlines()[0] and "the driver keeps some back" in out


@pytest.mark.parametrize("gpu", ["t4", "v100", "p100", "2080 ti"])
def test_a_gpu_without_bfloat16_is_told_and_float16_offered(capsys, gpu):
    for words, is_said in (("", True), ("--precision bf16", True), ("--precision fp16", False)):
        found = answer(capsys, f"smollm2-135m --gpu '{gpu}' {words}")
        assert any("no bfloat16" in said and "--precision fp16" in said for said in found["remarks"]) == is_said
    assert not any("bfloat16" in said for said in answer(capsys, "smollm2-135m --gpu l4")["remarks"])


@pytest.mark.parametrize("words", ["--gpu t4", "--gpu t4 --precision bf16", "--precision fp16"])
def test_torchtune_is_refused_what_its_recipes_refuse(capsys, words):
    status, out, err = run(capsys, "smollm2-135m", "--stack", "torchtune", *words.split())
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "torchtune trains neither in float16 nor on a card without bfloat16" in err
    assert "--precision fp32, or --stack peft" in err
    assert answer(capsys, "smollm2-135m --stack torchtune --precision fp32 --gpu t4")["verdict"] == "fits"


def test_no_card_without_bfloat16_is_named_for_a_stack_that_needs_it(capsys):
    cards = {words: answer(capsys, f"llama-3.2-1b --stack {words}")["gpus_that_fit"]
             for words in ("torchtune", "torchtune --precision fp32", "peft")}  # fmt: skip
    assert "t4" not in cards["torchtune"] and "rtx-4090" in cards["torchtune"]
    assert "t4" in cards["torchtune --precision fp32"] and "t4" in cards["peft"]


def test_states_that_a_paged_optimizer_moves_to_the_host_are_said(capsys):
    found = answer(capsys, "llama-3.1-8b --stack torchtune --method full")
    assert any("15.19 GiB of optimizer states are paged" in said for said in found["remarks"])
    assert not any("paged" in said for said in answer(capsys, "llama-3.2-1b --optimizer adamw8bit")["remarks"])


def test_bfloat16_adapters_are_offered_in_mixed_bfloat16_alone(capsys):
    for precision, offered in (("mixed", True), ("fp16", False), ("fp32", False)):
        ways = answer(capsys, f"llama-3.1-8b --budget 12GB --r 64 --precision {precision}")["ways_out"]
        assert any("adapter_dtype" in way["change"] for way in ways) == offered


def test_no_speed_in_bfloat16_is_said_of_a_card_without_it(capsys):
    for words, said in (("", True), ("--precision fp16", False)):
        _, out, _ = run(capsys, *f"smollm2-135m --gpu t4 {words}".split())
        assert (" tokens a second in float16" in out) == said and " tokens a second" in out


@pytest.mark.parametrize(
    ("model", "said", "setting"),
    [
        ("gemma-2-2b", "--attention eager, since sdpa cannot cap", ("attention", "eager")),
        ("gpt2", "--seq-len 1024, since this model reads no more", ("seq_len", 1024)),
        ("llama-3.1-8b", None, ("attention", "sdpa")),
        ("llama-3.1-8b", None, ("seq_len", 2048)),
    ],
)
def test_the_bare_command_answers_for_every_model_and_says_what_it_chose(capsys, model, said, setting):
    found = answer(capsys, model)
    assert found["setup"][setting[0]] == setting[1]
    assert any(said in remark for remark in found["remarks"]) if said else not found["remarks"]


@pytest.mark.parametrize("model", memory.PRESETS)
def test_the_bare_command_answers_for_every_preset(capsys, model):
    status, out, err = run(capsys, model)
    assert status == 0 and not err and out.startswith("Needs ")


# What it costs


def test_a_preset_is_answered_without_torch_transformers_or_matplotlib():
    code = (
        "import sys; from lora_lab.commands import cli\n"
        "assert cli.main(['memory', 'llama-3.1-8b', '--gpu', 't4', '--method', 'full']) == 3\n"
        "assert cli.main(['memory', 'meta-llama/Llama-3.1-8B-Instruct', '--json']) == 0\n"
        "assert cli.main(['memory', 'llama-3.1-8b', '--inference', '--gpu', 't4']) == 3\n"
        "assert cli.main(['memory', 'llama-3.1-8b', '--gpu', '2xl4', '--sharding', 'fsdp2']) == 0\n"
        "assert cli.main(['memory', 'llama-3.2-1b', '--dpo', '--json']) == 0\n"
        "print({'torch', 'transformers', 'matplotlib', 'numpy', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize(("words", "status"), [("--gpu t4", 4), ("--method full --gpu t4", 3), ("--gpu h100", 0)])
def test_a_reader_that_leaves_after_the_first_line_changes_no_status(words, status):
    command = f"{shlex.quote(sys.executable)} -m lora_lab.commands.cli memory llama-3.1-8b {words}"
    command += " | head -n 1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (status, "") and done.stdout.count("\n") == 1


def test_the_plot_is_written_and_a_wrong_format_is_refused(capsys, tmp_path):
    status, out, _ = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.png"))
    assert status == 0 and (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG") and "bars.png" in out
    status, _, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.docx"))
    assert status == 2 and "bars.docx" in err and not (tmp_path / "bars.docx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("llama-3.1-8c", "llama-3.1-8b"),
        ("llama-3.1-8b --gpu t5", "t4"),
        ("llama-3.1-8b --budget 16", "16GB or 14.5GiB"),
        ("llama-3.1-8b --budget=-3GB", "more than 0"),
        ("llama-2-7b --seq-len 5000", "4096"),
        ("llama-2-7b --optimizer adam", "adamw"),
        ("llama-2-7b --target-modules q_prj", "q_proj"),
        ("llama-2-7b --seq-len 0", "--seq-len 0: choose"),
        ("llama-2-7b --batch-size -2", "--batch-size -2: choose"),
        ("llama-2-7b --r 0", "--r 0: choose"),
        ("gemma-2-2b --attention sdpa", "--attention eager"),
        ("llama-2-7b --offload weights --method full", "--offload weights"),
        ("llama-2-7b --stack pft", "did you mean 'peft'"),
        ("llama-2-7b --optimizer adamw_torch_fuse", "did you mean 'adamw_torch_fused'"),
        ("llama-2-7b --attention flash", "flash_attention_2"),
        ("llama-2-7b --adapter-dtype fp8", "bf16, or leave it out"),
        ("llama-2-7b --block-size 63", "--block-size 63: choose"),
        ("llama-2-7b --accumulation 0", "--accumulation 0: choose"),
        ("llama-2-7b --chunked-loss -1", "--chunked-loss -1: choose"),
        ("llama-2-7b --dropout 1.5", "--dropout 1.5: choose"),
        ("llama-2-7b --keep-outputs --chunked-loss 5", "--keep-outputs needs logits"),
        ("llama-2-7b --upcast-frozen --precision bf16", "leave it out for --method qlora, --precision bf16"),
        ("llama-2-7b --optimizer-in-backward --accumulation 2", "--optimizer-in-backward"),
        ("llama-2-7b --method full --r 4", "--r 4 has no use with --method full"),
        ("llama-2-7b --method full --target-modules q_proj", "--target-modules q_proj has no use"),
        ("llama-2-7b --method full --adapter-dtype bf16", "--adapter-dtype bf16 has no use"),
        ("llama-2-7b --method lora --double-quant", "--double-quant has no use with --method lora"),
        ("llama-2-7b --method lora --block-size 64", "--block-size 64 has no use"),
        ("llama-2-7b --gpu 0xt4", "from 1 to 1024"),
        ("llama-2-7b --gpu 9999xt4", "from 1 to 1024"),
        ("llama-2-7b --seq-len 5000", "--seq-len 5000 is longer"),
        ("llama-2-7b --budget 1e400GB", "1e400GB"),
        ("llama-2-7b --budget nan", "nan"),
        ("llama-2-7b --budget 99999999999999GB", "no machine's"),
        ("llama-2-7b --plot bars.xyz", "choose a name in .png, .svg or .pdf"),
        ("llama-2-7b --gpu t5 --seq-len 0 --plot bars.xyz", "t5"),
        *(
            (f"llama-2-7b --plot {name}", "which is no file: choose a name such as memory.png")
            for name in ("-", "https://a.b/c.png", "s3://a/b.png", ".png", ".svg", "/dev/null")
        ),
        ("llama-2-7b --base int8 --double-quant", "--double-quant is of 4-bit weights, and --base int8 has none"),
        ("llama-2-7b --base int8 --block-size 64", "--block-size 64 is of 4-bit weights, and --base int8 has none"),
        ("llama-2-7b --gpu mi300x", "give a card's memory in place of its name, as in --budget 24GB"),
        ("llama-2-7b --gpu 2.5xt4", "'2.5xt4' is no number of cards"),
        ("llama-2-7b --gpu 99999999999xt4", "is no number of cards"),
        ("llama-2-7b --gpu=-1xt4", "is no number of cards"),
        ("llama-2-7b --budget 16,5GB", "write it with a point, 16.5GB"),
        ("llama-3.2-1b --modules-to-save lm_head", "--modules-to-save lm_head with a tied head"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_way_out(capsys, words, said):
    status, out, err = run(capsys, *words.split())
    assert status == 2 and not out and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16GB", 16 * 10**9),
        ("14.5 GiB", 29 * 2**29),
        ("900mb", 9 * 10**8),
        ("1MiB", 2**20),
        ("16 gb", 16 * 10**9),
        (".5GB", 5 * 10**8),
        ("5.GB", 5 * 10**9),
        ("0.000000001GB", 1),
    ],
)
def test_amounts_of_memory_carry_their_unit(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["16", "GB", "1.2.3GB", "nan GB", "16 TB", ".GB", "", "١٦GB", "²GB", "1e3GB", "9" * 400 + "GB", "infGB"]
)
def test_amounts_without_a_number_or_a_known_unit_are_refused(text):
    with pytest.raises(ValueError, match="unit"):
        parse_bytes(text)


@pytest.mark.parametrize(
    "words",
    [
        ["llama-2-7b", "--gpu", ""],
        ["llama-2-7b", "--budget", " "],
        ["llama-2-7b", "--plot", ""],
        ["llama-2-7b", "--target-modules", ""],
        ["llama-2-7b", "--target-modules", ","],
        ["llama-2-7b", "--target-modules", "q_proj,,v_proj"],
        ["llama-2-7b", "--optimizer", ""],
        ["llama-2-7b", "--offload", ""],
        ["llama-2-7b", "--stack", ""],
        ["llama-2-7b", "--precision", " "],
        ["llama-2-7b", "--adapter-dtype", ""],
        ["llama-2-7b", "--chunked-loss", ""],
        ["llama-2-7b", "--dropout", "nan"],
        [""],
        ["llama-2-7b", "--seq-len", "٣"],
        ["llama-2-7b", "--seq-len", "1_000"],
        ["llama-2-7b", "--seq-len", "9" * 5000],
        ["llama-2-7b", "--gpu", "t4", "--budget", "16GB"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_an_empty_or_odd_word_is_bad_input_in_one_sentence(capsys, words):
    with pytest.raises(SystemExit) as left:
        cli.main(["memory", *words])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and not out and err.count("\n") == 1 and len(err) < 300


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("b.SVG", b"<?xml"), ("c d.pdf", b"%PDF"), ("e", b"\x89PNG")]
)
def test_a_plot_has_the_format_of_its_name_and_the_same_bytes_each_time(capsys, tmp_path, name, begins):
    drawn = []
    for folder in ("one", "new/folder"):
        assert run(capsys, "smollm2-135m", "--plot", str(tmp_path / folder / name))[0] == 0
        drawn.append((tmp_path / folder / name).read_bytes())
    assert drawn[0].startswith(begins) and drawn[0] == drawn[1]


def test_an_empty_word_is_answered_with_what_could_be_given(capsys):
    for flag, such in (("--modules-to-save", "embed_tokens, lm_head"), ("--target-modules", "all-linear")):
        with pytest.raises(SystemExit):
            cli.main(["memory", "llama-2-7b", flag, ""])
        assert f"give {such}" in capsys.readouterr().err


# Configs of what is not counted


LLAMA = {"model_type": "llama", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": 256}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "already quantized (gptq)"),
        (LLAMA | {"quantization_config": {"quant_method": "awq", "bits": 4}}, "already quantized (awq)"),
        (LLAMA | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "bitsandbytes, int8"),
        (LLAMA | {"vision_config": {"hidden_size": 8}}, "its tower and projector are not counted"),
        *(({"model_type": kind}, "its tower and projector are not counted")
          for kind in ("qwen2_5_vl", "mllama", "llava", "gemma3", "clip")),
        *(({"model_type": kind}, f"'{kind}'") for kind in ("bert", "t5", "whisper")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [(), ("--simulate",)])
def test_a_config_of_what_is_not_counted_is_refused_by_what_it_is(capsys, tmp_path, config, said, flags):
    (tmp_path / "config.json").write_text(json.dumps(config))
    status, out, err = run(capsys, str(tmp_path), *flags)
    assert status == 2 and not out and said in err and err.count("\n") == 1
    assert ("is no causal LM" in err) == (config["model_type"] in ("bert", "t5", "whisper"))
    assert "simulate" not in err


@pytest.mark.parametrize("stored", [None, {"quant_method": "bitsandbytes", "load_in_4bit": True}])
def test_a_checkpoint_in_bitsandbytes_four_bits_is_counted_as_what_it_is(capsys, tmp_path, stored):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": stored}))
    assert run(capsys, str(tmp_path))[0] == 0


def test_a_byte_order_mark_is_named(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8-sig")
    status, out, err = run(capsys, str(tmp_path))
    assert status == 2 and not out and "byte order mark" in err and "save it without" in err


def test_a_rank_above_the_narrowest_weight_is_noted(capsys):
    for r, said in ((1024, False), (1025, True)):
        remarks = answer(capsys, f"llama-3.1-8b --r {r}")["remarks"]
        assert any("more than the rank that a change of k_proj can have, 1024" in each for each in remarks) == said
    assert not any(
        "rank" in each for each in answer(capsys, "llama-3.1-8b --r 2048 --target-modules q_proj")["remarks"]
    )


def test_adapters_that_torchtune_would_update_in_the_backward_pass_are_counted_with_a_remark(capsys):
    words = "llama-3.1-8b --stack torchtune --optimizer-in-backward"
    for method, said in (("lora", True), ("full", False)):
        remarks = answer(capsys, f"{words} --method {method}")["remarks"]
        assert any("torchtune has no --optimizer-in-backward" in each for each in remarks) == said


def test_a_model_that_answers_is_said_to_fit_on_one_of_several_cards_and_what_a_split_would_hold(capsys):
    status, out, _ = run(capsys, *"llama-3.1-70b --inference --gpu 2xh100".split())
    weights = 70_553_706_496  # two bytes each, over two cards
    assert status == 3 and out.startswith("Does not fit on one: ")
    assert f"evenly over 2 (device_map='auto') the weights alone are {weights / 2**30:.2f} GiB each" in out


def test_json_with_a_plot_is_still_json(capsys, tmp_path):
    _, out, _ = run(capsys, "smollm2-135m", "--json", "--plot", str(tmp_path / "bars.svg"))
    assert json.loads(out)["unit"] == "bytes" and (tmp_path / "bars.svg").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["TkAgg", "nonsense"])
def test_a_figure_needs_no_screen(tmp_path, backend):
    command = [sys.executable, "-m", "lora_lab.commands.cli"]
    words = [*command, "memory", "smollm2-135m", "--plot", str(tmp_path / "bars.png")]
    root = pathlib.Path(cli.__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, env={**os.environ, "MPLBACKEND": backend})
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "bars.png").is_file()


def test_a_full_disk_keeps_the_old_figure_and_is_one_sentence(capsys, tmp_path, monkeypatch):
    (tmp_path / "bars.png").write_bytes(b"old")

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    status, out, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path / "bars.png"))
    assert status == 2 and not out and "No space left on device" in err and err.count("\n") == 1
    assert (tmp_path / "bars.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_way_of_a_figure_is_said(capsys, tmp_path):
    status, out, err = run(capsys, "smollm2-135m", "--plot", str(tmp_path))
    assert status == 2 and not out and err.count("\n") == 1


def test_the_sentences_of_the_library_come_in_flags():
    said = cli.in_flags(
        "seq_len=5 and offload='x', see memory.simulate; checkpointing=True, keep_outputs=False",
        ["seq_len", "offload", "checkpointing", "keep_outputs"],
    )
    assert said == "--seq-len 5 and --offload x, see --simulate; --checkpointing, --no-keep-outputs"
    assert (
        cli.in_flags("leave it out of target_modules, or r=3", ["target_modules", "r"])
        == "leave it out of --target-modules, or --r 3"
    )
    assert cli.in_flags("an offload of my_seq_len", ["offload", "seq_len"]) == "an offload of my_seq_len"


# Several cards


@pytest.mark.parametrize("sharding", memory.SHARDINGS)
def test_several_cards_are_the_fullest_rank_of_the_library(capsys, sharding):
    found = answer(capsys, f"llama-3.1-8b --gpus 4 --sharding {sharding} --gpu l4")
    wanted = memory.estimate_rank("llama-3.1-8b", "qlora", ranks=4, sharding=sharding, stack="peft")
    assert found["peak_bytes"] == wanted.peak_bytes and found["known_error"] == wanted.known_error
    assert (found["gpu_count"], found["setup"]["gpus"], found["setup"]["sharding"]) == (4, 4, sharding)
    assert found["stack_error"] is None  # what was measured is a single card's


@pytest.mark.parametrize("words", ["--gpu 2xt4", "--gpu kaggle", "--gpu t4 --gpus 2", "--gpu 2xt4 --gpus 2"])
def test_two_cards_are_two_however_they_are_typed_and_ddp_unless_told_otherwise(capsys, words):
    found = answer(capsys, f"llama-3.2-1b {words}")
    assert found["peak_bytes"] == memory.estimate_rank("llama-3.2-1b", "qlora", 2, "ddp", stack="peft").peak_bytes
    assert (found["gpu"]["name"], found["gpu_count"]) == ("t4", 2)
    assert "on each of 2 × t4" in run(capsys, "llama-3.2-1b", *words.split())[1].splitlines()[0]


def test_a_budget_is_each_cards(capsys):
    status, out, _ = run(capsys, *"llama-3.1-8b --gpus 2 --sharding fsdp2 --quant-storage bf16 --budget 14GiB".split())
    assert status == 0 and out.splitlines()[0].endswith("of 14.00 GiB given (--budget 14GiB), on each of 2 cards.")


def test_several_cards_without_a_budget_are_matched_with_cards_of_which_there_are_as_many(capsys):
    _, out, _ = run(capsys, *"llama-3.1-70b --gpus 4 --sharding fsdp2".split())
    assert "Fits on (each of 4 cards): a100-80gb" in out


# Preferences


@pytest.mark.parametrize(
    ("words", "method", "reference"),
    [
        ("", "qlora", "adapters"),
        ("--reference precomputed", "qlora", "precomputed"),
        ("--reference copy --batch-size 2", "qlora", "copy"),
        ("--method full", "full", "copy"),
    ],
)
def test_dpo_is_the_librarys_preference_and_claims_no_error_that_was_not_measured(capsys, words, method, reference):
    found = answer(capsys, f"llama-3.2-1b --dpo {words}")
    size = {"batch_size": 2} if "--batch-size" in words else {}
    wanted = memory.preference("llama-3.2-1b", method, reference, stack="peft", **size)
    assert found["peak_bytes"] == wanted.peak_bytes
    assert (found["setup"]["dpo"], found["setup"]["reference"]) == (True, reference)
    assert found["stack_error"] is None and "no step of DPO was compared" in found["known_error"]


# Answering


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        ("--weights nf4", {"weights": "nf4"}),
        ("--weights int8 --batch-size 8", {"weights": "int8", "batch_size": 8}),
        ("--weights nf4 --double-quant --context 8192", {"weights": "nf4", "double_quant": True, "context": 8192}),
        ("--cache fp8 --attention eager", {"cache": "fp8", "attention": "eager"}),
        ("--attention flash_attention_2 --weights fp32", {"weights": "fp32"}),
    ],
)
def test_answering_is_what_the_library_counts_for_it(capsys, words, options):
    found = answer(capsys, f"llama-3.1-8b --inference {words}")
    wanted = memory.inference("llama-3.1-8b", **({"context": 2048} | options))
    assert found["kind"] == "inference" and found["peak_bytes"] == wanted.peak_bytes
    assert found["components"] == dict(wanted.components) and found["setup"].items() >= options.items()


@pytest.mark.parametrize(
    ("words", "status", "begins"),
    [
        ("--weights nf4 --gpu t4", 0, "Fits: "),
        ("--gpu l4", 4, "Uncertain: "),
        ("--gpu t4", 3, "Does not fit: "),
        ("", 0, "Needs "),
    ],
)
def test_the_verdict_on_answering_comes_first_and_is_the_exit_status(capsys, words, status, begins):
    found, out, _ = run(capsys, "llama-3.1-8b", "--inference", *words.split())
    assert found == status and out.startswith(begins) and "tokens a second" not in out
    assert ("Largest that surely fits: " in out) == bool(words)


@pytest.mark.parametrize(
    "words",
    [
        "llama-3.1-8b --inference --gpu t4",
        "qwen2.5-7b --inference --gpu t4 --context 32768 --batch-size 4",
        "gemma-2-9b --inference --weights fp32 --attention eager --gpu l4",
        "llama-3.1-70b --inference --weights nf4 --budget 57GiB --context 256",
        "llama-3.1-70b --inference --weights int8 --context 128 --gpu h100",
        "llama-3.1-8b --gpu 2xt4 --method lora",
        "llama-3.1-70b --gpus 4 --sharding zero2 --budget 64GB --batch-size 4",
        "llama-3.2-1b --dpo --gpu t4 --method full",
        "llama-3.1-8b --dpo --reference copy --gpu l4",
    ],
)
def test_ways_out_of_every_kind_save_what_they_say_when_they_are_typed(capsys, words):
    before = answer(capsys, words)
    ways = [*before["ways_out"], *([before["together"]] if before["together"] else [])]
    assert before["verdict"] != "fits" and any(way["answer"] == "fits" for way in ways)
    for way in ways:
        after = answer(capsys, f"{words} {way['flags']}")
        assert after["needs_bytes"] == way["peak_bytes"] == before["needs_bytes"] - way["saves_bytes"]
        assert after["verdict"] == way["answer"]


@pytest.mark.parametrize("words", ["llama-3.1-8b --weights nf4 --gpu t4", "qwen2.5-7b --batch-size 3 --gpu l4"])
def test_the_largest_batch_and_context_fit_and_the_next_ones_do_not(capsys, words):
    words = f"{words} --inference"
    found = answer(capsys, words)
    for kind, wanted in (("surely", {"fits"}), ("tensors", {"fits", "uncertain"})):
        for name, value in found["largest"][kind].items():
            if value is None:
                assert answer(capsys, f"{words} --{name.replace('_', '-')} 1")["verdict"] not in wanted
                continue
            for more in (0, 1):
                verdict = answer(capsys, f"{words} --{name.replace('_', '-')} {value + more}")["verdict"]
                assert (verdict in wanted) == (not more)


def test_the_longest_context_ends_with_what_the_model_reads(capsys):
    _, out, _ = run(capsys, *"smollm2-135m --inference --gpu h100".split())
    assert "--context 8192 with 1 at a time, as far as the model reads" in out


def test_answering_in_bfloat16_is_told_of_a_gpu_without_it(capsys):
    for words, is_said in (("--gpu t4", True), ("--gpu t4 --weights fp16", False), ("--gpu l4", False)):
        found = answer(capsys, f"smollm2-135m --inference {words}")
        assert any("--weights fp16" in said for said in found["remarks"]) == is_said


# Loading


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ("llama-3.1-70b --inference --weights int8 --context 128", ("llama-3.1-70b", "int8")),
        (
            "gpt2-large --stack lora_lab --seq-len 16 --precision bf16 --optimizer paged_adamw8bit --checkpointing",
            ("gpt2-large", "nf4", "lora_lab", True),
        ),
    ],
)
def test_where_loading_needs_more_it_is_said_and_the_verdict_is_on_it(capsys, words, loaded):
    found, peak = answer(capsys, words), memory.loading(*loaded).peak_bytes
    assert found["loading"]["peak_bytes"] == found["needs_bytes"] == peak > found["peak_bytes"]
    between = (peak + found["peak_bytes"]) // 2 / 2**30
    status, out, _ = run(capsys, *words.split(), "--budget", f"{between:.6f}GiB")
    assert status == 3 and "Why: the peak is in the phase 'loading'" in out
    assert f"Loading needs more than {found['kind']}: " in out


@pytest.mark.parametrize(
    "words",
    [
        "llama-3.1-8b --method lora",
        "llama-3.1-8b --stack torchtune",
        "llama-3.1-8b --gpus 2 --sharding fsdp2 --method lora",
        "llama-3.1-8b --offload weights",
        "llama-3.1-8b --inference",
    ],
)
def test_loading_is_not_said_where_nothing_is_quantized_on_the_card_or_it_is_not_known_how(capsys, words):
    found = answer(capsys, words)
    assert found["loading"] is None and found["needs_bytes"] == found["peak_bytes"]
    assert "Loading needs" not in run(capsys, *words.split())[1]


@pytest.mark.parametrize("sharding", ["zero3", "fsdp2 --quant-storage bf16"])
def test_a_quantized_model_is_loaded_whole_onto_each_card_before_it_is_shared(capsys, sharding):
    words = f"llama-3.1-70b --gpus 8 --sharding {sharding} --seq-len 512"
    found, peak = answer(capsys, words), memory.loading("llama-3.1-70b", upcast_frozen=True).peak_bytes
    assert found["peak_bytes"] < found["needs_bytes"] == found["loading"]["peak_bytes"] == peak
    status, out, _ = run(capsys, *words.split(), "--gpu", "4090")
    assert status == 3
    assert f"Loading puts all {peak / 2**30:.2f} GiB of the 4-bit model on each card before it is shared" in out


def test_a_way_out_with_fsdp2_stores_four_bit_weights_as_it_can_share_them(capsys):
    for sharding, wanted in (("ddp", "--sharding fsdp2 --quant-storage bf16"), ("fsdp2", "--quant-storage bf16")):
        words = f"llama-3.1-8b --gpus 4 --sharding {sharding} --seq-len 2048 --budget 7GB --no-upcast-frozen"
        assert wanted in [way["flags"] for way in answer(capsys, words)["ways_out"]]
    for words in ("--method lora --sharding ddp", "--base int8 --sharding zero3"):
        ways = answer(capsys, f"llama-3.1-8b --gpus 4 --budget 7GB {words}")["ways_out"]
        assert not any("--quant-storage" in way["flags"] for way in ways)


def stack_line(capsys, words):
    out = run(capsys, *words.split())[1]
    return next(line for line in out.splitlines() if line.startswith("Stack: "))


def test_an_upcast_that_deepspeed_undoes_is_there_while_it_loads(capsys):
    for sharding, undone in (("zero2", True), ("zero3", True), ("fsdp2", False), ("ddp", False)):
        words = f"llama-3.1-8b --gpus 2 --sharding {sharding}"
        said = stack_line(capsys, words)
        assert "--upcast-frozen" in said and ("(until DeepSpeed undoes it)" in said) == undone
        assert ("after loading, without --upcast-frozen" in run(capsys, *words.split())[1]) == undone


@pytest.mark.parametrize(
    ("sharding", "who"),
    [
        ("fsdp2", "accelerate casts"),
        ("zero1", "DeepSpeed"),
        ("zero2", "DeepSpeed"),
        ("zero3", "DeepSpeed"),
        ("ddp", ""),
    ],
)
def test_full_fine_tuning_that_is_shared_keeps_fp32_as_the_peer_makes_it_and_says_who(capsys, sharding, who):
    words = f"llama-3.1-8b --method full --checkpointing --gpus 8 --sharding {sharding}"
    found, line = answer(capsys, words), stack_line(capsys, words)
    assert found["setup"]["precision"] == ("mixed" if who else "bf16")
    assert (f"--precision mixed ({who}" in line) == bool(who)
    options = {"ranks": 8, "sharding": sharding, "checkpointing": True}
    assert found["peak_bytes"] == memory.estimate_rank("llama-3.1-8b", "full", stack="peft", **options).peak_bytes


def test_sixteen_bits_that_are_typed_are_counted_with_what_they_take(capsys):
    of_accelerate = "with bf16=True accelerate keeps what trains in fp32: --precision mixed"
    of_deepspeed = "unless bf16_master_weights_and_grads and bf16_optimizer_states are on"
    for sharding, said in (("fsdp2", of_accelerate), ("zero3", of_deepspeed)):
        words = f"llama-3.1-8b --method full --gpus 8 --sharding {sharding}"
        assert said in run(capsys, *words.split(), "--precision", "bf16")[1]
        assert said not in run(capsys, *words.split())[1]


def test_full_fine_tuning_of_8b_on_eight_24_gb_cards_under_fsdp2_is_not_sure(capsys):
    assert answer(capsys, "llama-3.1-8b --method full --gpu 8x4090 --sharding fsdp2 --checkpointing")["verdict"] == (
        "uncertain"
    )


def offered(capsys, words):
    """All flags that are named as ways out, one string each."""
    found = answer(capsys, words)
    ways = [*found["ways_out"], *([found["together"]] if found["together"] else [])]
    return [way["flags"] for way in ways] + ([found["more_cards"]] if found["more_cards"] else [])


def test_no_optimizer_of_bitsandbytes_is_offered_with_fsdp2_nor_several_cards_with_torchtune(capsys):
    shared = offered(capsys, "llama-3.1-8b --method full --gpu 4xl4 --sharding fsdp2")
    assert shared and not any("paged" in flags and "--sharding" not in flags for flags in shared)
    torchtune = "llama-3.1-70b --stack torchtune --gpu a100-80gb --method lora"
    assert offered(capsys, torchtune) and answer(capsys, torchtune)["more_cards"] is None
    more = answer(capsys, "llama-3.1-8b --method full --gpu l4 --optimizer paged_adamw_8bit")["more_cards"]
    assert "--sharding zero3" in more


def test_a_stage_of_deepspeed_is_offered_with_what_leaving_out_the_upcast_saves_alone(capsys):
    words = "qwen2.5-32b --gpu 2x4090"
    (plain,) = [way["saves_bytes"] for way in answer(capsys, words)["ways_out"] if way["flags"] == "--no-upcast-frozen"]
    out = run(capsys, *words.split())[1]
    for flags, is_said in (("--sharding zero2 ", True), ("--sharding zero3 ", True), ("--sharding fsdp2 ", False)):
        line = next(line for line in out.splitlines() if line.startswith(f"  {flags}"))
        assert (f"(DeepSpeed undoes --upcast-frozen: --no-upcast-frozen alone saves {plain / 2**30:.2f}" in line) == (
            is_said
        )


def test_what_a_sharding_does_with_four_bits_stands_above_the_table_once(capsys):
    out = run(capsys, *"llama-3.1-8b --gpu 2x4090 --sharding fsdp2".split())[1]
    before, after = out.split("Known error: ")
    assert "Note: 4-bit weights stay whole" in before and "Note: " not in after


def test_more_cards_also_load_less_where_loading_decides(capsys):
    words = "qwen2.5-32b --gpu 4090"
    more = answer(capsys, words)["more_cards"]
    assert "--no-upcast-frozen" in more
    assert f"or more cards: {more} (" in run(capsys, *words.split())[1]


def test_the_nearest_bundle_that_keeps_the_method_is_named_where_none_is_sure(capsys):
    found = answer(capsys, "llama-3.1-8b --method full --gpu 4090")
    assert (found["together"]["flags"], found["together"]["answer"]) == ("--stack torchtune --seq-len 256", "uncertain")
    assert any(way["flags"] == "--method qlora" and way["answer"] == "fits" for way in found["ways_out"])
    fused = offered(capsys, "llama-3.1-8b --method full --gpu 4090 --fused-loss")
    assert any("--stack torchtune --no-fused-loss" in flags for flags in fused)


def test_a_bundle_that_changes_the_method_says_so(capsys):
    out = run(capsys, *"llama-3.1-8b --method full --gpu 3060-12gb --seq-len 4096".split())[1]
    (line,) = [line for line in out.splitlines() if line.startswith("  together: ")]
    assert "--method qlora" in line and "with another method" in line


def test_who_asks_for_a_loss_in_chunks_is_told_of_the_one_that_the_trainer_has(capsys):
    assert "(it has --fused-loss: use_liger_kernel=True)" in run(capsys, "llama-3.1-8b", "--chunked-loss", "512")[1]
    assert "it has --fused-loss" not in run(capsys, *"llama-3.1-8b --method full --optimizer-in-backward".split())[1]


def test_four_bits_are_stored_as_bf16_only_for_cards_that_train_in_it(capsys):
    for gpu, said in (("2xt4", False), ("2xl4", True)):
        words = f"qwen2.5-32b --gpu {gpu} --sharding ddp"
        assert any("--quant-storage" in flags for flags in offered(capsys, words)) == said
    status, out, err = run(capsys, *"llama-3.1-8b --gpu 2xt4 --sharding fsdp2 --quant-storage bf16".split())
    assert status == 2 and not out and err.count("\n") == 1
    assert "t4 trains in float16" in err and "leave out --quant-storage" in err


@pytest.mark.parametrize("words", ["--precision fp16", "--dpo", "--gpus 2"])
def test_torchtune_is_no_way_out_of_what_its_recipe_does_not_do(capsys, words):
    room = "--budget 23GiB"
    assert any("--stack torchtune" in flags for flags in offered(capsys, f"llama-3.1-8b --method full {room}"))
    ways = offered(capsys, f"llama-3.1-8b --method full {room} {words}")
    assert ways and not any("--stack torchtune" in flags for flags in ways)


@pytest.mark.parametrize(("base", "is_offered"), [("nf4", True), ("int8", False)])
def test_16_bit_adapters_are_offered_where_pefts_cast_of_them_follows_a_weight_in_floats(capsys, base, is_offered):
    ways = offered(capsys, f"llama-3.1-8b --budget 12GB --r 64 --base {base}")
    assert any("--adapter-dtype" in flags for flags in ways) == is_offered


# Flags that do not go together


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--gpus 3 --gpu 2xt4", "--gpus 3 with --gpu 2xt4, which is 2 cards: leave out --gpus"),
        ("--gpus 0", "--gpus 0: choose from 1 to 1024"),
        ("--gpus 2 --sharding fsdp", "fsdp2"),
        ("--sharding fsdp2", "add --gpus 2"),
        ("--sharding fsdp2 --gpus 1", "add --gpus 2"),
        ("--gpus 2 --sharding zero3 --offload optimizer", "choose --sharding ddp"),
        *((f"--gpus 2 {words} --stack torchtune", "--stack torchtune is its single-device recipes") for words in
          ("", "--sharding zero3", "--method full --sharding fsdp2")),
        ("--gpus 2 --sharding fsdp2 --optimizer paged_adamw_8bit", "choose --optimizer adamw, or --sharding zero3"),
        ("--dpo --gpu 2xt4", "--dpo is counted on one card, not on 2"),
        ("--simulate --gpus 2", "--simulate is counted on one card, not on 2"),
        ("--simulate --dpo", "leave out --simulate, or --dpo"),
        ("--reference copy", "add --dpo, or leave it out"),
        ("--dpo --reference twice", "choose one of adapters, copy, precomputed, or leave it out"),
        ("--dpo --method full --reference adapters", "--reference adapters with --method full"),
        ("--inference --method lora", "(give --weights)"),
        ("--inference --seq-len 5", "(give --context)"),
        ("--inference --gpus 2", "counted on one card"),
        *((f"--inference {flag}", f"{flag} is of training") for flag in
          ("--dpo", "--simulate", "--checkpointing", "--plot a.png", "--stack peft", "--r 8", "--sharding ddp")),
        ("--weights nf4", "add --inference, or leave it out"),
        ("--context 5", "--seq-len says it"),
        ("--cache fp8", "training has no cache"),
        ("--inference --weights int4", "choose one of fp32, bf16, fp16, int8, nf4"),
        ("--inference --cache int8", "fp8, or leave it out"),
        ("--inference --context 5000", "--context 5000 is longer than the 4096 positions"),
        ("--inference --batch-size 0", "--batch-size 0: choose"),
        ("--inference --double-quant", "add --weights nf4"),
        ("--inference --attention flash", "flash_attention_2"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_one_sentence_and_nothing_is_printed(capsys, words, said):
    status, out, err = run(capsys, "llama-2-7b", *words.split())
    assert status == 2 and not out and said in err and err.count("\n") == 1


@pytest.mark.parametrize("words", ["--inference", "--dpo", "--gpus 2"])
def test_what_has_no_closed_form_is_not_sent_to_a_simulation_that_is_refused_too(capsys, tmp_path, words):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt", "vocab_size": 64, "hidden_size": 32}))
    status, out, err = run(capsys, str(tmp_path), *words.split())
    assert status == 2 and not out and err.count("\n") == 1
    assert f"{words.split()[0]} has closed forms only, and the architecture 'opt' has none" in err


@pytest.mark.parametrize("words", ["--inference --gpu t4", "--dpo", "--gpu 2xt4 --sharding fsdp2"])
def test_every_kind_answers_for_every_preset(capsys, words):
    for model in memory.PRESETS:
        status, out, err = run(capsys, model, *words.split())
        assert status in (0, 3, 4) and not err and "GiB of tensors" in out or "MiB of tensors" in out


@pytest.mark.parametrize(
    ("words", "cards"),
    [
        ("llama-3.1-8b --gpu t4", "4xt4"),
        ("llama-3.1-8b --method full --gpu 4090", "8xrtx-4090"),
        ("qwen2.5-32b --gpu 2xa100-40gb --batch-size 2", "4xa100-40gb"),
    ],
)
def test_who_asks_for_too_few_cards_is_told_how_many_would_do(capsys, words, cards):
    flags, _, said = answer(capsys, words)["more_cards"].rpartition(": ")
    assert flags.split()[:2] == ["--gpu", cards]
    asked = words.replace(words.split("--gpu ")[1].split()[0], cards)
    assert answer(capsys, f"{asked} {' '.join(flags.split()[2:])}")["verdict"] == said
    assert f"or more cards: {flags}" in run(capsys, *words.split())[1]


def test_no_number_of_cards_is_offered_where_loading_alone_fills_each(capsys):
    assert answer(capsys, "llama-3.1-70b --gpu l4")["more_cards"] is None


def test_a_bundle_keeps_the_method_where_one_does(capsys):
    found = answer(capsys, "llama-3.1-8b --method lora --gpu 3090")
    together = found["together"]
    assert together and "method" not in together["change"] and together["answer"] == "fits"
    assert "--method qlora" in [way["flags"] for way in found["ways_out"]]


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("llama-3.1-8b --gpu t4", "bnb_4bit_use_double_quant=True"),
        ("llama-3.1-8b --gpu t4", "use_liger_kernel=True"),
        ("llama-3.1-8b --gpu t4 --stack peft-loop", "bnb_4bit_use_double_quant=True"),
    ],
)
def test_a_way_out_is_also_said_in_the_words_of_the_stack_s_users(capsys, words, written):
    assert f"({written})" in run(capsys, *words.split())[1]
    assert written not in run(capsys, *words.split()[:3], "--stack", "lora_lab")[1]


def test_what_the_stack_does_not_offer_is_counted_with_a_remark(capsys):
    for words in ("--chunked-loss 512", "--method full --optimizer-in-backward"):
        assert any("peft has no" in each for each in answer(capsys, f"llama-3.1-8b {words}")["remarks"])
        others = answer(capsys, f"llama-3.1-8b --stack torchtune {words}")["remarks"]
        assert not any("has no" in each for each in others)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-7b"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b-v0.2"),
        ("Qwen2.5-Coder-0.5B", "qwen2.5-0.5b"),
    ],
)
def test_a_further_training_of_a_family_is_counted_as_the_family(capsys, name, preset):
    assert answer(capsys, name)["counted_as"] == preset


@pytest.mark.parametrize("name", ["Qwen/Qwen2-VL-7B-Instruct", "llava-hf/llava-1.5-7b-hf", "Llama-3.2-11B-Vision"])
def test_a_model_with_a_tower_is_refused_by_what_is_missing(capsys, name):
    status, out, err = run(capsys, name)
    assert status == 2 and not out and "tower" in err and name.rpartition("/")[2] in err


def test_the_range_of_a_process_says_how_many_measured_ones_lay_in_it(capsys):
    for gpu, found in records.load("memory_world")["processes"].items():
        assert f"{found['inside']} of {found['runs']} measured on {gpu}" in run(capsys, "llama-3.1-8b")[1]
