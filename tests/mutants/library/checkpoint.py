"""Small wrong changes to adapters on disk, and to what else was trained."""

from tests.mutants.library.mutation import Mutation

CHECKPOINT = "lora_lab/adapters/checkpoint.py"
FOLDER = "lora_lab/adapters/folder.py"
MOVED = "lora_lab/adapters/moved.py"
_FILES = "tests/adapters/test_checkpoint.py"
_BESIDE = f"{_FILES}::test_what_was_trained_beside_the_adapters_is_saved_and_loaded_and_can_be_taken_out"

TESTS = (_FILES, "tests/lora/test_layers.py", "tests/lora/test_against_peft.py", "tests/adapters/test_beside.py")

MUTATIONS = (
    Mutation(
        file=FOLDER,
        before="            if _identity(folder) == before:\n                return stored, tensors\n",
        after="            return stored, tensors\n",
        test=f"{_FILES}::test_a_reader_never_pairs_the_files_of_two_saves",
        wrong="a reader takes the configuration of one save and the weights of another",
    ),
    Mutation(
        file=FOLDER,
        before="(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)",
        after="(state.st_size,)",
        test=f"{_FILES}::test_files_of_the_same_size_are_told_apart",
        wrong="a save of the same size goes unnoticed between two looks",
    ),
    Mutation(
        file=FOLDER,
        before=r'"(?<![^.|(^])_orig_mod',
        after=r'"_orig_mod',
        test=f"{_FILES}::test_a_name_part_that_only_ends_in_the_one_of_torch_compile_is_kept",
        wrong="a name that ends like torch.compile's part is cut",
    ),
    Mutation(
        file=CHECKPOINT,
        before="    if not torch.isfinite(own).all():  # finite",
        after="    if not torch.isfinite(stored).all():  # finite",
        test=f"{_FILES}::test_a_value_that_fits_the_file_but_not_the_factor_is_refused",
        wrong="infinity is looked for before the cast",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="    if not files.is_finite(tensor):\n",
        after="    if not name:\n",
        test=f"{_FILES}::test_an_adapter_that_is_not_finite_is_not_saved[nan]",
        wrong="NaN is written over a good adapter",
    ),
    Mutation(
        file=CHECKPOINT,
        before="    refuse_absent(name, own)\n    own",
        after="    own",
        test=f"{_FILES}::test_an_adapter_is_not_lost_on_a_model_without_weights",
        wrong="an adapter is copied to the meta device, where it is lost",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before='tensor.to("cpu", copy=True).contiguous()',
        after='tensor.to("cpu").contiguous()',
        test=f"{_FILES}::test_layers_that_share_a_factor_are_saved",
        wrong="two layers that share a factor cannot be saved",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="        _refuse_misshapen(where, layer)\n",
        after="",
        test=f"{_FILES}::test_what_a_reader_could_not_load_is_not_written",
        wrong="factors of another rank than the configuration states are written",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="        _refuse_what_adapters_stand_on(layers_once(register.model), register.layers_of(name), moved)\n",
        after="",
        test=f"{_FILES}::test_an_adapter_whose_base_has_moved_is_not_saved_as_if_it_fitted_the_old_one[change_the_base]",
        wrong="a weight that moved below an adapter goes into the folder",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="or isinstance(modules.get(owner), Linear4bit)):",
        after="):",
        test=f"{_FILES}::test_codes_of_a_4_bit_layer_that_moved_are_refused_by_name",
        wrong="codes of a 4-bit layer that moved go into the folder",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="                found |= own\n",
        after="                pass\n",
        test="tests/adapters/test_beside.py::test_a_head_in_modules_to_save_goes_to_peft_and_back",
        wrong="what is in modules_to_save is not saved",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="    if not adapters_only:\n",
        after="    if adapters_only:\n",
        test=f"{_FILES}::test_adapters_only_leaves_out_what_the_adapter_was_not_told_to_train",
        wrong="adapters_only means its opposite",
    ),
    Mutation(
        file=MOVED,
        before="torch.linspace(0, max(0, len(flat) - 1),",
        after="torch.linspace(0, min(63, len(flat) - 1),",
        test=f"{_FILES}::test_rows_of_an_embedding_far_from_its_first_ones_are_never_lost_either",
        wrong="only the first values of a tensor are noted",
    ),
    Mutation(
        file=MOVED,
        before="        if tensor.requires_grad:\n",
        after="        if not name:\n",
        test=f"{_FILES}::test_adapters_only_leaves_out_what_the_adapter_was_not_told_to_train",
        wrong="what trains, and did not move where it was noted, is left out",
    ),
    Mutation(
        file=MOVED,
        before="        through |= {torch.bfloat16, torch.float16}\n",
        after="        through |= set()\n",
        test=f"{_FILES}::test_what_only_looks_like_training_is_saved",
        wrong="a base that was in 16 bits for a while is taken for a trained one",
    ),
    Mutation(
        file=MOVED,
        before=' else "is new since the adapter was put in"\n',
        after=" else None\n",
        test=f"{_BESIDE}[plain-head]",
        wrong="a new head is left out of the folder",
    ),
    Mutation(
        file=MOVED,
        before="    except (RuntimeError, NotImplementedError, TypeError, ValueError):\n        return None\n",
        after="    except ZeroDivisionError:\n        return None\n",
        test="tests/lora/test_layers.py::test_other_tensors_of_any_kind_do_not_keep_adapters_out[coo]",
        wrong="a sparse tensor elsewhere keeps adapters out",
    ),
    Mutation(
        file="lora_lab/adapters/naming.py",
        before="in (*module._parameters.items(), *module._buffers.items())",
        after="in module._parameters.items()",
        test=f"{_BESIDE}[plain-buffers]",
        wrong="buffers are not noted",
    ),
    Mutation(
        file="lora_lab/adapters/copies.py",
        before="return full | running_statistics(model) | config",
        after="return full | config",
        test=f"{_FILES}::test_adapters_only_leaves_out_what_the_adapter_was_not_told_to_train",
        wrong="BatchNorm's statistics are none of the adapter's own",
    ),
)
