"""Wrong names: of targets, of what a wrapper holds, and expressions for them."""

from tests.mutants.library.mutation import Mutation

PATTERNS = "lora_lab/patterns.py"
WRAPPERS = "lora_lab/wrappers.py"
_FILES = "tests/adapters/test_checkpoint.py"
_HARMLESS = "tests/adapters/test_naming.py::test_an_expression_that_could_run_for_ever_is_not_tried_in_this_process"

TESTS = ("tests/adapters/test_naming.py", _FILES, "tests/lora/test_layers.py")

MUTATIONS = (
    Mutation(
        file=WRAPPERS,
        before="if isinstance(module, _WRAPPERS):",
        after="if isinstance(module, nn.DataParallel):",
        test=f"{_FILES}::test_a_wrapped_model_has_the_names_of_the_plain_one[all-linear-average]",
        wrong="a wrapper's part stays in the names",
    ),
    Mutation(
        file=WRAPPERS,
        before="        parent = unwrap(child)\n",
        after="        parent = child\n",
        test=f"{_FILES}::test_a_wrapped_model_has_the_names_of_the_plain_one[all-linear-compiled layers]",
        wrong="an adapter is put beside the layer that a wrapper holds",
    ),
    Mutation(
        file=PATTERNS,
        before='rest.count("*") + rest.count("+") <= budget',
        after='rest.count("*") <= budget',
        test=f"{_HARMLESS}[.+.+.+.+.+.+.+.+.+.+.+.+x]",
        wrong="only one kind of repeat is counted",
    ),
    Mutation(
        file=PATTERNS,
        before=r'not re.search(r"\)[*+]|[*+][*+]", rest)',
        after=r'not re.search(r"[*+][*+]", rest)',
        test=f"{_HARMLESS}[(a+)+b]",
        wrong="a repeated group is taken for harmless",
    ),
    Mutation(
        file="lora_lab/matching.py",
        before='            end = end.partition(".")[2]\n',
        after='            end = ""\n',
        test="tests/lora/test_layers.py::test_targets_match_whole_name_parts[target_modules0-names0]",
        wrong="only full names are found",
    ),
    Mutation(
        file="lora_lab/adapters/naming.py",
        before="            refuse_unreadable(name, module)\n",
        after="            pass\n",
        test="tests/lora/test_layers.py::test_a_layer_without_a_weight_yet_takes_no_adapter",
        wrong="a lazy layer is not named as one",
    ),
)
