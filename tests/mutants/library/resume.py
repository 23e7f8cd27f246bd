"""Small wrong changes to what keeps a training run in a folder and goes on with it."""

from tests.mutants.library.mutation import Mutation

KEEPING, PACKING, STREAM, LOOP, FITTING, INTERRUPTIONS, FINGERPRINTS = (
    f"lora_lab/train/{name}.py"
    for name in ("keeping", "packing", "stream", "loop", "fitting", "interruptions", "fingerprints")
)
RESUME = "tests/train/test_resume.py"
KILLED = f"{RESUME}::test_a_run_killed_at_any_step_and_gone_on_with_is_the_run_that_was_not_bit_for_bit"
REFUSED = f"{RESUME}::test_the_state_of_another_run_is_refused_naming_the_difference"

TESTS = (RESUME,)

MUTATIONS = (
    Mutation(
        file=KEEPING,
        before='        torch.set_rng_state(tree["random"]["cpu"])\n',
        after="",
        test=f"{KILLED}[5-Killed]",
        wrong="dropout draws other numbers after going on",
    ),
    Mutation(
        file=KEEPING,
        before="        optimizer.state[parameter] = {key:",
        after="        {key:",
        test=f"{KILLED}[5-Killed]",
        wrong="the optimizer has forgotten its moments",
    ),
    Mutation(
        file=KEEPING,
        before='zip(moved(self.model, self.parameters), tree["best"])\n',
        after='zip(moved(self.model, self.parameters), tree["best"] and tree["weights"])\n',
        test=f"{KILLED}[8-Killed]",
        wrong="the last weights are taken for the best ones",
    ),
    Mutation(
        file=KEEPING,
        before='        self.stream.go_to(tree["data"])\n',
        after="",
        test=f"{KILLED}[5-Killed]",
        wrong="the data begin again",
    ),
    Mutation(
        file=KEEPING,
        before="            self._place = self._state.place()\n            self._whole = True\n",
        after="            self._whole = True\n",
        test=f"{KILLED}[5-Killed]",
        wrong="the place in data and random numbers stays that of the start",
    ),
    Mutation(
        file=KEEPING,
        before="            if self._whole:  # else",
        after="            if True:  # else",
        test=f"{RESUME}::test_weights_that_a_second_ctrl_c_left_half_moved_are_not_kept",
        wrong="a step that was torn is kept",
    ),
    Mutation(
        file=KEEPING,
        before="            require_same(self._folder, self._identity)\n",
        after="",
        test=f"{REFUSED}[seed]",
        wrong="any run goes on from any state",
    ),
    Mutation(
        file=KEEPING,
        before="        except OSError as error:\n            warnings.warn",
        after="        except ZeroDivisionError as error:\n            warnings.warn",
        test=f"{RESUME}::test_a_disk_that_is_full_costs_the_way_back_and_not_the_run",
        wrong="a full disk ends the run",
    ),
    Mutation(
        file=STREAM,
        before="        if self.position != position:\n",
        after="        if False:\n",
        test=f"{REFUSED}[data0]",
        wrong="other batches are not noticed",
    ),
    Mutation(
        file=LOOP,
        before=" and history.last_evaluated != done:",
        after=":",
        test=f"{RESUME}::test_a_run_killed_between_two_saves_goes_on_from_the_last_one",
        wrong="a step that was evaluated is evaluated again",
    ),
    Mutation(
        file=LOOP,
        before="if done == steps or history.stopped_early:",
        after="if done == steps:",
        test=f"{KILLED}[5-Killed]",
        wrong="patience ends nothing",
    ),
    Mutation(
        file=PACKING,
        before="if tensor.is_contiguous() and whole and not shared else",
        after="if tensor.is_contiguous() and whole else",
        test=f"{RESUME}::test_a_tree_comes_back_as_it_was",
        wrong="tensors that share their memory cannot be written",
    ),
    Mutation(
        file=INTERRUPTIONS,
        before="        if len(caught) > 1:\n",
        after="        if len(caught) > 99:\n",
        test=f"{RESUME}::test_a_second_ctrl_c_is_raised_at_once",
        wrong="a block that hangs cannot be left",
    ),
    Mutation(
        file=INTERRUPTIONS,
        before="    if caught:\n        raise KeyboardInterrupt\n",
        after="",
        test=f"{RESUME}::test_a_signal_is_held_back_until_the_block_is_done[SIGINT]",
        wrong="Ctrl-C is swallowed",
    ),
    Mutation(
        file=FINGERPRINTS,
        before='digest.update(f"tensor {plain.dtype} {list(plain.shape)} ".encode())',
        after='digest.update(f"tensor {plain.dtype} ".encode())',
        test=f"{RESUME}::test_what_differs_has_other_fingerprints[one6-other6]",
        wrong="batches of another shape are taken for the same",
    ),
    Mutation(
        file=FITTING,
        before='{**(options.get("identity") or {}), **settings, **same}',
        after='{**(options.get("identity") or {}), **settings}',
        test=f"{RESUME}::test_fit_refuses_other_data_and_settings_by_name[change3-has other examples to learn from]",
        wrong="examples that were not drawn so far may be others",
    ),
)
