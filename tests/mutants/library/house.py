"""Small wrong changes to the ground floor, and to the old names of modules that moved."""

from tests.mutants.library.mutation import Mutation

_MOVED = "tests/project/test_moved.py"
_RANGES = "tests/ground/test_ranges.py"

_UNITS = "tests/ground/test_units.py"

TESTS = (_MOVED, _RANGES, _UNITS)

MUTATIONS = (
    Mutation(
        file="lora_lab/moved.py",
        before="_warn(self.__name__, self._new, stacklevel=3)",
        after="_warn(self.__name__, self._new, stacklevel=2)",
        test=f"{_MOVED}::test_the_old_name_gives_what_the_new_one_has_and_says_where_it_is[lora_lab.files]",
        wrong="the warning points into the library",
    ),
    Mutation(
        file="lora_lab/moved.py",
        before='if name.startswith("__"):',
        after='if name == "__path__":',
        test=f"{_MOVED}::test_a_name_that_the_module_never_had_is_an_import_error_without_a_warning",
        wrong="whoever looks through all modules is warned",
    ),
    Mutation(
        file="lora_lab/moved.py",
        before="        sys.modules.setdefault(old, StandIn(old, new))",
        after="""        sys.modules.setdefault(old, StandIn(old, new))
        package, _, last = old.rpartition(".")
        setattr(importlib.import_module(package), last, sys.modules[old])""",
        test=f"{_MOVED}::test_an_old_name_that_is_imported_hides_no_function[estimate]",
        wrong="an old module hides the function of its name",
    ),
    Mutation(
        file="lora_lab/moved.py",
        before='"lora_lab.quant.shards": "lora_lab.disk.shards"',
        after='"lora_lab.quant.shards": "lora_lab.disk.names"',
        test=f"{_MOVED}::test_the_old_name_gives_what_the_new_one_has_and_says_where_it_is[lora_lab.quant.shards]",
        wrong="an old name leads to another module",
    ),
    Mutation(
        file="lora_lab/moved.py",
        before="return _elsewhere(module.__name__, name, stacklevel=4)",
        after="return _elsewhere(module.__name__, name, stacklevel=3)",
        test=f"{_MOVED}::test_a_single_name_is_the_same_object_as_the_new_one_and_says_where_it_is"
        "[lora_lab.quant.linear4bit-SLAB]",
        wrong="the warning of a single name points into the library",
    ),
    Mutation(
        file="lora_lab/moved.py",
        before='{"SLAB": "lora_lab.quant.slabs.SIZE"}',
        after="{}",
        test=f"{_MOVED}::test_every_public_name_of_the_last_release_works_or_says_what_to_use_instead"
        "[lora_lab.quant.linear4bit]",
        wrong="a name of the last release is forgotten",
    ),
    Mutation(
        file="lora_lab/ranges.py",
        before="len(names) - n} more",
        after="len(names)} more",
        test=f"{_RANGES}::test_of_many_names_the_first_three_are_said[5-a, b, c and 2 more]",
        wrong="names that are said count among those that are not",
    ),
    Mutation(
        file="lora_lab/ranges.py",
        before="        hint, them = suggestion(value, known),",
        after='        hint, them = "",',
        test=f"{_RANGES}::test_a_choice_names_the_nearest_one_and_all",
        wrong="a misspelled choice is not told the nearest",
    ),
    Mutation(
        file="lora_lab/units.py",
        before='if os.name == "nt" else shlex.join(words)',
        after='if os.name != "nt" else shlex.join(words)',
        test=f"{_UNITS}::test_on_windows_a_name_with_spaces_stands_in_double_quotes",
        wrong="a command is quoted as on another system",
    ),
    Mutation(
        file="lora_lab/units.py",
        before="shlex.join(words)",
        after='" ".join(words)',
        test=f"{_UNITS}::test_a_command_line_is_read_back_as_the_words_that_it_is_made_of",
        wrong="a name with a space is two words of a command",
    ),
)
