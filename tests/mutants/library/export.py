"""Small wrong changes to handing a model over, and to the figures about merging."""

from tests.mutants.library.mutation import Mutation

_EXPORT, _SHOW = "tests/models/test_export.py", "tests/show/test_merging.py"
TESTS = (_EXPORT, _SHOW)

MUTATIONS = (
    Mutation(
        file="lora_lab/models/to_gguf.py",
        before="    return halves.transpose(1, 2).reshape(weight.shape)",
        after="    return halves.reshape(weight.shape)",
        test=f"{_EXPORT}::test_rows_that_rotary_embeddings_turn_together_stand_side_by_side",
        wrong="rotary embeddings turn the wrong rows in llama.cpp",
    ),
    Mutation(
        file="lora_lab/models/to_gguf.py",
        before="        weight = neighbours(weight, config.num_key_value_heads)",
        after="        weight = neighbours(weight, config.num_attention_heads)",
        test=f"{_EXPORT}::test_the_gguf_file_is_read_by_transformers_and_gives_the_same_scores",
        wrong="keys are reordered as if there were as many heads as for queries",
    ),
    Mutation(
        file="lora_lab/models/to_gguf.py",
        before="if weight.dim() > 1 else torch.float32",
        after="if weight.dim() > 0 else torch.float32",
        test=f"{_EXPORT}::test_matrices_are_in_f16_and_vectors_in_f32_tensor_for_tensor",
        wrong="norms are in f16, which llama.cpp does not expect",
    ),
    Mutation(
        file="lora_lab/models/to_gguf.py",
        before='_CONTROL if added["special"] else _USER_DEFINED',
        after="_USER_DEFINED",
        test=f"{_EXPORT}::test_the_file_names_how_text_is_split",
        wrong="the end of a turn is printed as text",
    ),
    Mutation(
        file="lora_lab/models/export.py",
        before='        config["dtype"] = str(dtype).removeprefix("torch.")\n',
        after="",
        test=f"{_EXPORT}::test_another_dtype_is_that_of_the_files_and_not_of_the_model",
        wrong="a 16-bit folder says that it is in 32 bits, and servers load it so",
    ),
    Mutation(
        file="lora_lab/models/export.py",
        before="and not torch.equal(head.weight, embedding.weight)",
        after="and head.weight.shape != embedding.weight.shape",
        test=f"{_EXPORT}::test_a_head_that_was_tied_and_is_another_by_now_is_not_dropped_in_silence",
        wrong="a head that was trained by itself is left out of the files",
    ),
    Mutation(
        file="lora_lab/models/export.py",
        before="            weights[name] = each.clone()",
        after="            weights[name] = each",
        test=f"{_EXPORT}::test_a_head_that_shares_memory_and_is_not_tied_is_in_the_file",
        wrong="a head that shares its memory is left out, and the reader makes a new one",
    ),
    Mutation(
        file="lora_lab/disk/atomic.py",
        before='(Path(folder) / "adapter_config.json").is_file()',
        after='(Path(folder) / "adapter.json").is_file()',
        test=f"{_EXPORT}::test_weights_do_not_go_where_an_adapter_is_which_would_be_added_to_them",
        wrong="transformers adds the adapter to the merged weights once more",
    ),
    Mutation(
        file="lora_lab/models/to_gguf.py",
        before='config.hidden_act not in ("silu", "swish")',
        after='config.hidden_act == ""',
        test=f"{_EXPORT}::test_what_the_file_cannot_say_is_refused_with_a_way_out",
        wrong="a Llama with another activation is read as one with silu",
    ),
    Mutation(
        file="lora_lab/show/merging.py",
        before="differs = abs(a - b) > 1e-9",
        after="differs = a < b - 1e-9 and a > 0",
        test=f"{_SHOW}::test_what_moved_is_counted_and_marked",
        wrong="weights that moved are not marked",
    ),
)
