"""Small wrong changes to what a pack holds, and to what installs it."""

from tests.mutants.library.mutation import Mutation

_SELECTION, _PACK, _INSTALL = (f"tests/classroom/test_{name}.py" for name in ("selection", "pack", "install"))

TESTS = (_SELECTION, _PACK, _INSTALL)

MUTATIONS = (
    Mutation(
        file="lora_lab/classroom/targets.py",
        before='return any(marker.evaluate({**place, "extra": extra}) for place in places',
        after='return any(marker.evaluate({"extra": extra}) for place in places',
        test=f"{_SELECTION}::test_a_requirements_marker_is_asked_for_the_target_and_not_for_this_machine",
        wrong="a marker is asked of the machine that makes the pack",
    ),
    Mutation(
        file="lora_lab/classroom/selection.py",
        before="if name not in seen or extras != seen[name]:",
        after="if name not in seen:",
        test=f"{_SELECTION}::test_extras_that_are_asked_later_bring_what_they_need",
        wrong="what an extra needs is missing, if the package was needed without it before",
    ),
    Mutation(
        file="lora_lab/classroom/selection.py",
        before='return SpecifierSet(f"=={known[name]}")',
        after="return need.specifier",
        test=f"{_SELECTION}::test_the_version_that_was_tested_is_taken_and_not_the_newest",
        wrong="the newest version is packed, which nobody tested",
    ),
    Mutation(
        file="lora_lab/classroom/shelf.py",
        before="(found, -min(ranks[tag]",
        after="(found, min(ranks[tag]",
        test=f"{_SELECTION}::test_the_wheel_that_fits_best_is_taken",
        wrong="the wheel that fits worst is packed",
    ),
    Mutation(
        file="lora_lab/classroom/contents.py",
        before="oldest = max(platforms",
        after="oldest = min(platforms",
        test=f"{_PACK}::test_a_wheel_keeps_the_tag_for_the_oldest_systems_and_stays_one_that_its_target_takes",
        wrong="a wheel is given a tag that older systems do not take",
    ),
    Mutation(
        file="lora_lab/classroom/writing.py",
        before="info = zipfile.ZipInfo(name, _TIME)",
        after="info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 2 * (len(str(archive.filename)) % 29)))",
        test=f"{_PACK}::test_what_is_in_a_pack_can_be_unpacked_anywhere",
        wrong="the time of packing stands in the zip",
    ),
    Mutation(
        file="lora_lab/classroom/checking.py",
        before="if sha256(HERE / name) != known.get(name)]",
        after="if not (HERE / name).exists()]",
        test=f"{_INSTALL}::test_a_file_that_is_damaged_or_missing_is_named_before_anything_is_made[constraints.txt]",
        wrong="a damaged file is installed",
    ),
    Mutation(
        file="lora_lab/classroom/checking.py",
        before="tuple(map(int, numbers)) < least",
        after="version < '.'.join(map(str, least))",
        test=f"{_INSTALL}::test_a_system_that_is_too_old_is_refused[linux-28-2.100-False]",
        wrong="versions are compared as texts",
    ),
    Mutation(
        file="lora_lab/classroom/install.py",
        before="if target.exists() and checking.sha256(target) != checking.sha256(source):",
        after="if False:",
        test=f"{_INSTALL}::test_the_instructors_notebooks_come_and_what_was_written_in_them_stays",
        wrong="nothing is said of a notebook that stays",
    ),
)
