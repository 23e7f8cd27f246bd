"""The explorables of memory say what the library says, and their controls stay what they are."""

import html
import re

import ipywidgets
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from lora_lab import memory, show
from lora_lab.memory.saying import gib, size, verdict
from lora_lab.memory.settings import Options
from lora_lab.show.explorables import describe, describe_inference, implied, useless
from lora_lab.show.gauge import REACH
from lora_lab.show.levers import choice
from lora_lab.units import GIB

MODEL = "smollm2-135m"
LEVERS = {  # of lesson 07, by the names of `memory.Setup`
    "config", "stack", "method", "r", "batch_size", "seq_len", "precision", "checkpointing", "double_quant",
    "attention", "optimizer", "upcast_frozen", "keep_outputs", "chunked_loss", "accumulation", "offload",
}  # fmt: skip


class Opened:
    """An explorable, by the words beside its controls."""

    def __init__(self, widget):
        self.picture, *_, self.call = widget.children
        self.controls = {each.description: each for each in leaves(widget) if each.description}

    def __getitem__(self, name):
        return self.controls[name].value

    def __setitem__(self, name, value):
        self.controls[name].value = value

    @property
    def estimate(self):
        """Of the line of Python that it shows."""
        line = html.unescape(re.search("<code>(.*)</code>", self.call.value).group(1))
        return eval(line, {"memory": memory})

    @property
    def verdict(self):
        return html.unescape(re.search("<b>(.*?)</b>", self.picture.value).group(1))


def leaves(widget):
    if not hasattr(widget, "children"):
        return [widget]
    return [leaf for child in widget.children for leaf in leaves(child)]


def axis(estimate, gpu):
    drawing = show.memory_gauge(estimate, gpu, "A step")
    plt.close(drawing.fig)
    return drawing.fig.axes[0]


# ── the gauge ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_axis_is_the_cards_whatever_the_bar():
    small, large = (memory.estimate("llama-3.1-8b", method, seq_len=256) for method in ("qlora", "full"))
    t4, h100 = memory.get_gpu("t4"), memory.get_gpu("h100")
    assert axis(small, "t4").get_xlim() == axis(large, t4).get_xlim() == (0, REACH * t4.usable_gib)
    assert axis(small, h100).get_xlim() == (0, REACH * h100.usable_gib)


@pytest.mark.parametrize("gpu", ["t4", "h100"])
def test_bar_line_and_process_stand_at_their_gib(gpu):
    estimate, card = memory.estimate("llama-3.1-8b", "qlora", stack="peft"), memory.get_gpu(gpu)
    drawn = axis(estimate, gpu)
    assert max(bar.get_x() + bar.get_width() for bar in drawn.patches) * GIB == pytest.approx(estimate.peak_bytes)
    process, line = drawn.lines
    assert [at * GIB for at in process.get_xdata()] == pytest.approx(memory.process_bytes(estimate.peak_bytes, card))
    assert list(line.get_xdata()) == [card.usable_gib] * 2
    said = {text.get_text() for text in drawn.texts}
    assert {gib(estimate.peak_bytes), f"{card.name}: {card.usable_gib:.2f} GiB usable", "as a process"} <= said


def test_a_bar_that_is_too_long_ends_in_an_arrow_within_the_axis():
    estimate = memory.estimate("llama-3.1-8b", "full")
    drawn = axis(estimate, "t4")
    (said,) = (text for text in drawn.texts if gib(estimate.peak_bytes) in text.get_text())
    assert said.get_text().endswith("→") and said.get_position()[0] < drawn.get_xlim()[1]
    assert said.get_horizontalalignment() == "right"


def test_every_part_has_its_place_in_the_legend_whether_it_is_there_or_not():
    training, answering = memory.estimate(MODEL, "qlora"), memory.inference(MODEL)
    for estimate, names in ((training, memory.COMPONENTS), (answering, answering.components)):
        drawing = show.memory_gauge(estimate, "t4", "A step")
        (legend,) = drawing.fig.legends
        shown = {text.get_text(): to_hex(patch.get_facecolor())
                 for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}  # fmt: skip
        assert set(names) <= set(shown) and len(set(shown.values())) == len(shown)
        plt.close(drawing.fig)


def test_a_gauge_of_nothing_is_refused_and_leaves_no_figure():
    before = plt.get_fignums()
    with pytest.raises(TypeError, match="no estimate"):
        show.memory_gauge(7, "t4", "A step")
    with pytest.raises(ValueError, match="unknown GPU"):
        show.memory_gauge(memory.estimate(MODEL), "t5", "A step")
    assert plt.get_fignums() == before


# ── the sentence ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("gpu", "starts"), [("rtx-3070", "Does not fit:"), ("t4", "Uncertain:"), ("h100", "Fits:")])
def test_the_explorable_says_what_the_command_says(gpu, starts, capsys):
    from lora_lab.commands import cli

    cli.main(["memory", "llama-3.1-8b", "--gpu", gpu])
    line = capsys.readouterr().out.splitlines()[0]
    opened = Opened(show.memory_explorer("llama-3.1-8b", gpu))
    assert opened.verdict == line and line.startswith(starts)


def test_every_number_is_in_gib_also_where_the_command_says_mib():
    said = re.sub(r"base64,[^\"]*", "", describe(MODEL, "t4", "qlora", seq_len=128).picture)
    assert len(re.findall(r"[0-9] [KMGT]i?B", said)) == len(re.findall(r"[0-9]\.[0-9][0-9] GiB", said)) > 8
    assert (size(2**29), gib(2**29)) == ("512 MiB", "0.50 GiB")


def test_without_a_room_only_the_need_is_said():
    assert re.fullmatch(r"Needs 2\.00 GiB of tensors, .* as a process\.", verdict(2 * GIB))


# ── levers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_lever_of_the_lesson_is_there_and_tells():
    fields = {*Options.__annotations__, "config", "method"}
    assert fields >= LEVERS
    opened = Opened(show.memory_explorer(MODEL, "t4", "lora_lab"))
    moves = {
        "model": "gpt2", "stack": "peft", "method": "full", "rank r": 64, "batch size": 4, "tokens": 1024,
        "precision": "fp32", "checkpointing": True, "double quantization": False, "attention": "eager",
        "optimizer": "adafactor", "upcast to float32": True, "outputs kept": True, "logits": 256, "accumulation": 2,
        "offloaded": "weights",
    }  # fmt: skip
    assert len(moves) == len(LEVERS)
    for name, value in moves.items():
        before = opened.estimate.components, opened.picture.value, opened[name]
        opened[name] = value
        assert opened.estimate.components != before[0] and opened.picture.value != before[1], name
        opened[name] = before[2]
        assert opened.estimate.components == before[0], name


def test_the_line_of_python_says_the_same_as_the_picture():
    for stack in ("lora_lab", "peft", "peft-loop", "torchtune"):
        opened = Opened(show.memory_explorer(MODEL, "t4", stack))
        for method in memory.METHODS:
            opened["method"] = method
            assert f"{gib(opened.estimate.peak_bytes)} of tensors" in opened.picture.value
            wanted = memory.estimate(MODEL, method, stack=stack)
            assert opened.estimate.peak_bytes == wanted.peak_bytes


def test_a_stack_moves_the_levers_that_it_sets_and_no_other():
    opened = Opened(show.memory_explorer(MODEL, "t4"))
    assert opened["checkpointing"] and opened["upcast to float32"] and not opened["double quantization"]
    opened["batch size"], opened["optimizer"] = 3, "sgd"
    opened["method"] = "lora"
    assert not opened["checkpointing"] and opened["batch size"] == 3 and opened["optimizer"] == "sgd"
    opened["checkpointing"] = True
    opened["tokens"] = 1024
    assert opened["checkpointing"]
    opened["stack"] = "torchtune"
    assert opened["precision"] == "bf16" and opened["logits"] == 512 and opened["rank r"] == 8
    opened["stack"] = "lora_lab"
    assert opened["precision"] == "mixed" and opened["logits"] == "" and opened["rank r"] == 16


def test_a_model_moves_what_it_leaves_no_choice():
    assert implied("gpt2", "lora_lab", "lora") == {"seq_len": 1024}
    assert implied("gemma-2-2b", "lora_lab", "lora") == {"attention": "eager"}
    opened = Opened(show.memory_explorer("gemma-2-2b", "h100"))
    assert opened["attention"] == "eager" and "Not possible" not in opened.picture.value
    opened["model"] = "gpt2"
    assert (opened["attention"], opened["tokens"]) == ("sdpa", 1024)
    opened["model"] = MODEL
    assert opened["tokens"] == 2048


@pytest.mark.parametrize("stack", ["lora_lab", "peft", "peft-loop"])
def test_every_preset_begins_with_a_step_that_is_possible(stack):
    """Torchtune's recipes name layers that some families call otherwise, which the library says."""
    for model in memory.PRESETS:
        for method in memory.METHODS:
            assert memory.estimate(model, method, **{"stack": stack, **implied(model, stack, method)}).peak_bytes > 0


def test_what_means_nothing_is_switched_off_and_not_counted():
    opened = Opened(show.memory_explorer(MODEL, "t4"))
    opened["method"] = "full"
    off = {name for name, control in opened.controls.items() if control.disabled}
    assert off == {"rank r", "double quantization", "upcast to float32"}
    opened["method"] = "qlora"
    opened["precision"] = "bf16"  # which upcasting does not go with
    assert opened.controls["upcast to float32"].disabled and "Not possible" not in opened.picture.value
    opened["precision"] = "mixed"
    assert not opened.controls["upcast to float32"].disabled and opened["upcast to float32"]
    kept = {"method": "qlora", "precision": "mixed", "chunked_loss": None, "accumulation": 1}
    assert useless(kept) == set()
    assert useless({**kept, "chunked_loss": 256}) == {"keep_outputs"}
    assert useless({**kept, "accumulation": 2}) == {"optimizer_in_backward"}


def test_what_cannot_be_is_said_in_a_sentence_and_left_again():
    opened = Opened(show.memory_explorer(MODEL, "t4"))
    opened["tokens"] = 2**15
    assert opened.verdict == "Not possible." and "8192" in opened.picture.value
    opened["tokens"] = 8192
    assert "<img alt=" in opened.picture.value


def test_a_change_is_drawn_once_though_it_moves_other_levers(monkeypatch):
    opened, drawn = Opened(show.memory_explorer(MODEL, "t4")), []
    monkeypatch.setattr("lora_lab.show.explorables.picture", lambda *args: drawn.append(args) or show.Rich("", ""))
    opened["stack"] = "torchtune"
    assert len(drawn) == 1
    plt.close("all")


def test_sliders_are_of_whole_numbers_wide_and_followed_while_they_are_dragged():
    for widget in (show.memory_explorer(MODEL), show.inference_explorer(MODEL), show.quantizer_explorer()):
        numbers = [each for each in leaves(widget) if "Slider" in type(each).__name__]
        assert numbers and all(type(each) is ipywidgets.IntSlider for each in numbers)
        assert all(each.continuous_update and each.layout.width == "100%" for each in numbers)


def test_nothing_is_a_choice_that_is_shown_as_chosen():
    control = choice("logits", {"all at once": None, "some": 5}, None)
    assert control.label == "all at once"


# ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_explorable_of_answering_follows_its_controls():
    opened = Opened(show.inference_explorer("llama-3.1-8b", "t4"))
    assert opened.verdict.startswith("Does not fit: ")
    opened["weights"] = "nf4"
    assert opened.verdict.startswith("Fits: ")
    for name, value in {"context": 8192, "batch size": 8, "cache": "fp8", "model": "mistral-7b"}.items():
        before = opened.estimate.peak_bytes
        opened[name] = value
        assert opened.estimate.peak_bytes != before and gib(opened.estimate.peak_bytes) in opened.picture.value
    opened["GPU"] = "h100"
    assert "usable on h100" in opened.verdict
    opened["model"] = "gpt2"
    assert opened["context"] == 1024 and opened.verdict.startswith("Fits: ")
    opened["context"] = 4096
    assert opened.verdict == "Not possible." and "1024" in opened.picture.value
    opened["model"] = "llama-3.1-8b"
    assert opened["context"] == 2048


def test_an_answer_is_that_of_the_library():
    said = describe_inference("llama-3.1-8b", "rtx-4090", "int8", context=4096, batch_size=2)
    wanted = memory.inference("llama-3.1-8b", "int8", context=4096, batch_size=2)
    assert f"{gib(wanted.peak_bytes)} of tensors" in said.picture and "KV cache 1.00 GiB" in said.picture


# ── where it begins ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("explorer", [show.memory_explorer, show.inference_explorer])
def test_unknown_names_are_refused_before_anything_is_drawn(explorer):
    with pytest.raises(ValueError, match="smollm2"):
        explorer("smolm-135m")
    with pytest.raises(ValueError, match="t4"):
        explorer(gpu="t5")
    with pytest.raises(ValueError, match="begins with a preset"):
        explorer(memory.load_config("gpt2"))
    with pytest.raises(ValueError, match="unknown stack"):
        show.memory_explorer(stack="unsloth")


def test_names_are_taken_as_people_write_them():
    opened = Opened(show.memory_explorer("SmolLM2-135M", "Tesla T4"))
    assert (opened["model"], opened["GPU"]) == (MODEL, "t4")
