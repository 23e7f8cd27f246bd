"""Small wrong changes to adapters on disk, to names, and to what else was trained."""

from tests.mutants.library.mutation import Mutation

_FILES = "tests/lora/test_adapter_files.py"
_PATTERNS = "tests/lora/test_patterns.py"
_LOST = f"{_FILES}::test_what_was_trained_beside_the_adapters_is_never_lost_in_silence"
_HARMLESS = f"{_PATTERNS}::test_an_expression_that_could_run_for_ever_is_not_tried_in_this_process"

TESTS = (
    "tests/lora/test_layers.py",
    "tests/lora/test_adapter_files.py",
    "tests/lora/test_patterns.py",
    "tests/lora/test_against_peft.py",
)

MUTATIONS = (
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before="            if _identity(folder) == before:\n                return stored, tensors\n",
        after="            return stored, tensors\n",
        test=f"{_FILES}::test_a_reader_never_pairs_the_files_of_two_saves",
        wrong="a reader takes the configuration of one save and the weights of another",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before="    if not torch.isfinite(factor).all():  # finite",
        after="    if not torch.isfinite(stored).all():  # finite",
        test=f"{_FILES}::test_a_value_that_fits_the_file_but_not_the_factor_is_refused",
        wrong="infinity is looked for before the cast",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before='            _refuse_not_finite(f"{name}.{factor}", tensor)\n',
        after="",
        test=f"{_FILES}::test_an_adapter_that_is_not_finite_is_not_saved[nan]",
        wrong="NaN is written over a good adapter",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before="    _refuse_absent(name, factor)\n    factor",
        after="    factor",
        test=f"{_FILES}::test_an_adapter_is_not_lost_on_a_model_without_weights",
        wrong="an adapter is copied to the meta device, where it is lost",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before='tensor.to("cpu", copy=True).contiguous()',
        after='tensor.to("cpu").contiguous()',
        test=f"{_FILES}::test_layers_that_share_a_factor_are_saved",
        wrong="two layers that share a factor cannot be saved",
    ),
    Mutation(
        file="lora_lab/lora/inject.py",
        before="            fill(layers)\n",
        after="            with put_all(model, layers):\n                pass\n            fill(layers)\n",
        test=f"{_FILES}::test_a_value_that_fits_the_file_but_not_the_factor_is_refused",
        wrong="a refused adapter stays in the model",
    ),
    Mutation(
        file="lora_lab/naming.py",
        before="isinstance(module, _WRAPPERS) else module",
        after="isinstance(module, nn.DataParallel) else module",
        test=f"{_FILES}::test_a_wrapped_model_has_the_names_of_the_plain_one[all-linear-average]",
        wrong="a wrapper's part stays in the names",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before="(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)",
        after="(state.st_size,)",
        test=f"{_FILES}::test_files_of_the_same_size_are_told_apart",
        wrong="a save of the same size goes unnoticed between two looks",
    ),
    Mutation(
        file="lora_lab/lora/moved.py",
        before="torch.linspace(0, max(0, len(flat) - 1),",
        after="torch.linspace(0, min(63, len(flat) - 1),",
        test=f"{_FILES}::test_rows_of_an_embedding_far_from_its_first_ones_are_never_lost_either",
        wrong="only the first values of a tensor are noted",
    ),
    Mutation(
        file="lora_lab/naming.py",
        before="        parent = unwrap(child)\n",
        after="        parent = child\n",
        test=f"{_FILES}::test_a_wrapped_model_has_the_names_of_the_plain_one[all-linear-compiled layers]",
        wrong="an adapter is put beside the layer that a wrapper holds",
    ),
    Mutation(
        file="lora_lab/lora/moved.py",
        before="for name, tensor in _outside(model) if tensor.requires_grad}",
        after="for name, tensor in _outside(model) if not name}",
        test=f"{_LOST}[plain-unfrozen]",
        wrong="what still trains is left out unsaid",
    ),
    Mutation(
        file="lora_lab/lora/moved.py",
        before="        through |= {torch.bfloat16, torch.float16}\n",
        after="        through |= set()\n",
        test=f"{_FILES}::test_what_only_looks_like_training_is_saved",
        wrong="a base that was in 16 bits for a while is taken for a trained one",
    ),
    Mutation(
        file="lora_lab/naming.py",
        before="in (*module._parameters.items(), *module._buffers.items())",
        after="in module._parameters.items()",
        test=f"{_LOST}[plain-statistics]",
        wrong="buffers are not noted",
    ),
    Mutation(
        file="lora_lab/lora/moved.py",
        before=' else "is new since the adapters were put in"\n',
        after=" else None\n",
        test=f"{_LOST}[plain-head]",
        wrong="a new head is left out unsaid",
    ),
    Mutation(
        file="lora_lab/lora/moved.py",
        before="    except (RuntimeError, NotImplementedError, TypeError, ValueError):\n        return None\n",
        after="    except ZeroDivisionError:\n        return None\n",
        test="tests/lora/test_layers.py::test_other_tensors_of_any_kind_do_not_keep_adapters_out[coo]",
        wrong="a sparse tensor elsewhere keeps adapters out",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before="        _refuse_misshapen(name, layer)\n",
        after="",
        test=f"{_FILES}::test_what_a_reader_could_not_load_is_not_written",
        wrong="factors of another rank than the configuration states are written",
    ),
    Mutation(
        file="lora_lab/lora/checkpoint.py",
        before=r'"(?<![^.|(^])_orig_mod',
        after=r'"_orig_mod',
        test=f"{_FILES}::test_a_name_part_that_only_ends_in_the_one_of_torch_compile_is_kept",
        wrong="a name that ends like torch.compile's part is cut",
    ),
    Mutation(
        file="lora_lab/lora/inject.py",
        before="        with put_all(model, layers):\n            note_tensors(model)\n    except",
        after="        with put_all(model, layers):\n            pass\n        note_tensors(model)\n    except",
        test="tests/lora/test_layers.py::test_an_injection_that_is_interrupted_while_tensors_are_noted_leaves_nothing_behind",
        wrong="an interrupted injection is half done",
    ),
    Mutation(
        file="lora_lab/lora/patterns.py",
        before='rest.count("*") + rest.count("+") <= budget',
        after='rest.count("*") <= budget',
        test=f"{_HARMLESS}[.+.+.+.+.+.+.+.+.+.+.+.+x]",
        wrong="only one kind of repeat is counted",
    ),
    Mutation(
        file="lora_lab/lora/patterns.py",
        before=r'not re.search(r"\)[*+]|[*+][*+]", rest)',
        after=r'not re.search(r"[*+][*+]", rest)',
        test=f"{_HARMLESS}[(a+)+b]",
        wrong="a repeated group is taken for harmless",
    ),
    Mutation(
        file="lora_lab/lora/targets.py",
        before='            end = end.partition(".")[2]\n',
        after='            end = ""\n',
        test="tests/lora/test_layers.py::test_targets_match_whole_name_parts[target_modules0-names0]",
        wrong="only full names are found",
    ),
)
