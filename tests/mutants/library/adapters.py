"""Wrong names, copies and layers: what adapters, and a model's own tensors, must not do to each other."""

from tests.mutants.library.mutation import Mutation

PLACING = "lora_lab/adapters/placing.py"
REGISTER = "lora_lab/adapters/register.py"
COPIES = "lora_lab/adapters/copies.py"
CHECKPOINT = "lora_lab/adapters/checkpoint.py"

NAMES = "tests/adapters/test_names.py::"
IN_PLACE = "tests/adapters/test_copies.py::"
LAYERS = "tests/adapters/test_layers.py::"

TESTS = ("tests/adapters",)

MUTATIONS = (
    Mutation(
        file=REGISTER,
        before="        register.switch(None)\n        yield\n",
        after="        yield\n",
        test=NAMES + "test_another_starts_from_the_model_s_own_tensors_and_not_from_what_the_first_has_learnt",
        wrong="a second adapter starts from what the first has learnt",
    ),
    Mutation(
        file=REGISTER,
        before="        Register(model).switch(used)\n",
        after="",
        test=NAMES + "test_an_interruption_leaves_all_as_it_was[-_train-use]",
        wrong="Ctrl-C in use leaves half of it",
    ),
    Mutation(
        file=REGISTER,
        before="            root.__dict__[ATTRIBUTE] = names\n        Register",
        after="            pass\n        Register",
        test=NAMES + "test_an_interruption_leaves_all_as_it_was[-_place-remove]",
        wrong="Ctrl-C in remove forgets the adapters beside their layers",
    ),
    Mutation(
        file=REGISTER,
        before="    register.require_enabled()\n",
        after="",
        test=NAMES + "test_while_they_are_switched_off_nothing_that_would_mix_them_up_is_done[use]",
        wrong="what is used within disabled is mixed up with what was in use",
    ),
    Mutation(
        file=PLACING,
        before="layer.core if name is None else layer.base)",
        after="layer.core)",
        test=NAMES + "test_trained_in_turns_each_is_bit_for_bit_as_if_alone[Net-first2-second2]",
        wrong="taking out one adapter takes out those within it",
    ),
    Mutation(
        file=REGISTER,
        before="_train((tensor for _, tensor in layer.own_tensors()), layer.active)",
        after="_train((tensor for _, tensor in layer.own_tensors()), True)",
        test=NAMES + "test_only_the_one_in_use_requires_a_gradient_and_is_counted[tiny_bert]",
        wrong="adapters that are not in use train",
    ),
    Mutation(
        file=REGISTER,
        before="_train(placed.copies.own(root).values(), placed.used)",
        after="placed.copies.own(root)",
        test=NAMES + "test_what_is_used_again_trains_again_after_the_model_was_frozen",
        wrong="heads and biases that are used again do not train",
    ),
    Mutation(
        file=COPIES,
        before="copies |= dict.fromkeys(shared, _copy(tensors[shared[0]]))",
        after="copies |= {name: _copy(tensors[name]) for name in shared}",
        test=IN_PLACE + "test_tied_modules_stay_tied_train_as_one_and_peft_computes_the_same[names0]",
        wrong="copies of what is tied are not tied",
    ),
    Mutation(
        file=COPIES,
        before="            tensor.data = tensor.data.to(here[name].device, here[name].dtype)\n",
        after="            pass\n",
        test=NAMES + "test_a_cast_reaches_what_is_not_in_use_when_it_is_used[dtype1]",
        wrong="a cast does not reach copies that are away",
    ),
    Mutation(
        file=COPIES,
        before="full | running_statistics(model) | config",
        after="full | config",
        test=NAMES + "test_running_statistics_belong_to_the_adapter_that_moved_them",
        wrong="BatchNorm's statistics are shared by all adapters",
    ),
    Mutation(
        file="lora_lab/adapters/contents.py",
        before="if name in in_saved or names[id(tensor)] == name",
        after="if names[id(tensor)] == name",
        test=IN_PLACE + "test_tied_modules_stay_tied_train_as_one_and_peft_computes_the_same[names0]",
        wrong="PEFT gets one of two tied modules",
    ),
    Mutation(
        file=CHECKPOINT,
        before="    refuse_half_of_a_tie(model, config.modules_to_save or (), rest)\n",
        after="",
        test=IN_PLACE
        + "test_what_peft_trained_as_if_it_were_not_tied_is_refused_where_it_is_and_the_way_out_is_right[names0]",
        wrong="PEFT's untied embedding moves the tied head too",
    ),
    Mutation(
        file=CHECKPOINT,
        before="    refuse_lost(model, trained_in_place(model, config, configs) - statistics, rest)\n",
        after="",
        test=IN_PLACE + "test_a_folder_that_lost_its_biases_as_peft_s_did_is_refused_and_the_way_out_loads[lora_only]",
        wrong="a folder that lost its biases is loaded with those of the base",
    ),
    Mutation(
        file=CHECKPOINT,
        before='        if owner in configs and part == "weight":\n',
        after="        if False:\n",
        test=IN_PLACE + "test_peft_adds_the_weight_below_an_adapter_which_must_be_the_model_s[targets0]",
        wrong="an adapter is loaded on another head than it was trained on",
    ),
    Mutation(
        file="lora_lab/quant/linears.py",
        before="return Conv1D(d_out, d_in)",
        after="return Conv1D(d_in, d_out)",
        test=LAYERS + "test_a_conv1d_is_merged_and_stays_one[kaiming]",
        wrong="a merged Conv1D states its sizes the wrong way round",
    ),
    Mutation(
        file="lora_lab/lora/embedding.py",
        before="a = self.kind.apply(self.core, x, self.lora_A.T, None)",
        after="a = self.lora_A.T[x]",
        test=LAYERS + "test_an_embedding_has_what_an_embedding_has_and_an_id_that_never_occurs_keeps_its_row",
        wrong="the padding's row trains",
    ),
)
