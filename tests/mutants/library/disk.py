"""Small wrong changes to writing and reading files."""

from tests.mutants.library.mutation import Mutation

EXCHANGE = "lora_lab/disk/exchange.py"
_KILLED = "tests/disk/test_files.py::test_a_process_killed_at_any_step_leaves_the_files_of_one_save"
_TAKEN_BACK = "tests/disk/test_files.py::test_a_replacement_that_fails_at_any_step_is_taken_back"

TESTS = ("tests/disk/test_files.py",)

MUTATIONS = (
    Mutation(
        file=EXCHANGE,
        before="in (*reversed(files), *gone) if os.path.lexists(target / file)]",
        after="in (*reversed(files), *gone) if not file.name]",
        test=f"{_KILLED}[in place]",
        wrong="new files go over the old ones one by one",
    ),
    Mutation(
        file=EXCHANGE,
        before="(*reversed(files), *gone)",
        after="(*files, *gone)",
        test=f"{_KILLED}[in place]",
        wrong="the weights go out last, so that what is left can be read",
    ),
    Mutation(
        file=EXCHANGE,
        before="        for source, place in reversed(moved):",
        after="        for source, place in moved:",
        test=f"{_TAKEN_BACK}[error-in place]",
        wrong="the way back is walked in the wrong order",
    ),
    Mutation(
        file=EXCHANGE,
        before="    except BaseException:\n        for source",
        after="    except Exception:\n        for source",
        test=f"{_TAKEN_BACK}[^C-in place]",
        wrong="an interruption is not taken back",
    ),
    Mutation(
        file=EXCHANGE,
        before="    return in_use or os.path.ismount(target)",
        after="    return os.path.ismount(target)",
        test="tests/disk/test_files.py::test_the_current_folder_can_be_replaced_and_stays_the_current_one",
        wrong="the current folder is swapped away",
    ),
    Mutation(
        file=EXCHANGE,
        before="                continue  # it was",
        after="                pass  # it was",
        test="tests/disk/test_files.py::test_a_saver_that_waited_for_a_folder_that_was_swapped_waits_for_the_new_one",
        wrong="a saver that waited holds the lock of a folder that is gone",
    ),
    Mutation(
        file=EXCHANGE,
        before="(ours.st_dev, ours.st_uid, ours.st_gid) == (theirs.st_dev, theirs.st_uid, theirs.st_gid)",
        after="bool(ours and theirs)",
        test="tests/disk/test_files.py::test_a_folder_of_another_owner_or_disk_is_replaced_in_place[st_uid]",
        wrong="a folder gets another owner",
    ),
    Mutation(
        file=EXCHANGE,
        before="            os.rename(new / entry, target / entry)\n",
        after="            pass\n",
        test="tests/disk/test_files.py::test_what_arrives_while_a_folder_is_swapped_is_not_lost",
        wrong="files that arrive during the swap are deleted with the old folder",
    ),
    Mutation(
        file=EXCHANGE,
        before="                os.link(target / entry, new / entry, follow_symlinks=False)",
        after="                pass",
        test=f"{_KILLED}[swap]",
        wrong="what stays is carried over after the swap only",
    ),
    Mutation(
        file="lora_lab/disk/atomic.py",
        before="        temporary.chmod(probe.stat().st_mode & 0o777)\n",
        after="        temporary.chmod(0o644)\n",
        test="tests/disk/test_files.py::test_files_get_the_mode_that_the_umask_asks_for[63-384-448]",
        wrong="everybody may read, whatever the umask says",
    ),
    Mutation(
        file="lora_lab/disk/atomic.py",
        before="        temporary.chmod(target.stat().st_mode & 0o777)\n        return\n",
        after="        pass\n",
        test="tests/disk/test_files.py::test_what_was_private_stays_private_when_it_is_replaced",
        wrong="a private file is opened to others when it is replaced",
    ),
    Mutation(
        file="lora_lab/disk/failures.py",
        before="return int(number[1]) if number else None",
        after="return None",
        test="tests/disk/test_files.py::test_the_error_that_safetensors_hides_is_the_disks",
        wrong="a full disk is a SafetensorError",
    ),
    Mutation(
        file="lora_lab/disk/documents.py",
        before="        if key in content:",
        after="        if False:",
        test="tests/disk/test_files.py::test_json_that_cannot_be_trusted_is_one_sentence[twice]",
        wrong="of two equal keys the last one wins",
    ),
    Mutation(
        file="lora_lab/disk/names.py",
        before="    if not text:",
        after="    if text is None:",
        test="tests/disk/test_files.py::test_a_name_that_means_something_else_to_a_shell_writes_nothing[]",
        wrong="an empty name is the current folder",
    ),
    Mutation(
        file="lora_lab/disk/names.py",
        before='text == "~" or text',
        after="text",
        test="tests/disk/test_files.py::test_a_name_that_means_something_else_to_a_shell_writes_nothing[~]",
        wrong="a folder called ~ is made",
    ),
    Mutation(
        file="lora_lab/disk/documents.py",
        before="allow_nan=not finite",
        after="allow_nan=True",
        test="tests/disk/test_files.py::test_what_is_written_as_json_is_read_again_and_what_could_not_be_is_refused",
        wrong="NaN is written, which the reader refuses",
    ),
)
