"""Small wrong changes to what is around the judge: files, rosters, what is kept, processes, reports."""

from tests.mutants.library.mutation import Mutation

ARCHIVES, CACHE, CLAIMS, ENGINE, EXERCISE, FOLDERS, MARKS, POOL, REPORTS, ROSTER, SUBMISSIONS = (
    f"lora_lab/grading/{name}.py"
    for name in (
        "archives", "cache", "claims", "engine", "exercise", "folders", "marks", "pool", "reports", "roster",
        "submissions",
    )
)  # fmt: skip
FILES, KEPT, RUN, SAID = (f"tests/grading/test_{name}.py" for name in ("submissions", "cache", "engine", "reports"))

TESTS = (FILES, KEPT, RUN, SAID)

MUTATIONS = (
    Mutation(
        file=ARCHIVES,
        before='if ".." in name.replace("\\\\", "/").split("/"):',
        after='if ".." in name.split("/"):',
        test=f"{FILES}::test_a_name_that_nobody_means_is_refused_by_name[al\\\\..\\\\..\\\\01_svd.ipynb-'..']",
        wrong="a way out of the folder in Windows' spelling",
    ),
    Mutation(
        file=ARCHIVES,
        before="if entry.file_size > max(SMALL, MOST_RATIO * entry.compress_size):",
        after="if entry.file_size > MOST_RATIO * SMALL:",
        test=f"{FILES}::test_a_zip_bomb_is_refused_by_what_it_declares",
        wrong="the ratio of a zip bomb is not looked at",
    ),
    Mutation(
        file=ARCHIVES,
        before="often[_target(name)] > 1",
        after="often[name] > 1",
        test=f"{FILES}::test_two_entries_of_one_name_are_both_refused",
        wrong="a name that differs in './' only hides another",
    ),
    Mutation(
        file=FOLDERS,
        before="        if entry.is_symlink():",
        after='        if entry.is_symlink() and entry.name == "":',
        test=f"{FILES}::test_links_devices_and_what_editors_keep_are_said_and_not_read",
        wrong="links are followed",
    ),
    Mutation(
        file=CLAIMS,
        before="key=lambda level: (len(names[level]), -level)",
        after="key=lambda level: -level",
        test=f"{FILES}::test_the_folder_that_tells_students_apart_names_them[paths2-alice]",
        wrong="the outermost folder is the student's, though it is the section's",
    ),
    Mutation(
        file=ROSTER,
        before="if often[name] == 1 and stands_in(name, part)",
        after="if stands_in(name, part)",
        test=f"{FILES}::test_the_name_of_a_group_is_nobodys",
        wrong="the name of a group is taken for a student's",
    ),
    Mutation(
        file=ROSTER,
        before="        yield turned\n",
        after="        yield name\n",
        test=f"{FILES}::test_a_student_is_found_by_any_column_in_any_order_of_the_names",
        wrong="'Lovelace, Ada' is not Ada Lovelace",
    ),
    Mutation(
        file=SUBMISSIONS,
        before="    ordered = sorted((one for one, _ in group), key=_in_time)",
        after="    ordered = sorted((one for one, _ in group), key=lambda one: one.path)",
        test=f"{FILES}::test_the_last_in_time_counts_and_the_others_are_said",
        wrong="the last by its name counts, not the last in time",
    ),
    Mutation(
        file=SUBMISSIONS,
        before="    if len(ids) > 1:",
        after="    if len(ids) > 2:",
        test=f"{FILES}::test_two_people_of_one_name_are_not_taken_for_one",
        wrong="two people of one name are one",
    ),
    Mutation(
        file=CACHE,
        before="        if not outcome.trouble:",
        after="        if True:",
        test=f"{KEPT}::test_trouble_of_the_grader_is_tried_again",
        wrong="what the grader failed at is kept as a result",
    ),
    Mutation(
        file=CACHE,
        before="said, sources.digest, lora_lab.__version__, trusted]",
        after="said, lora_lab.__version__, trusted]",
        test=f"{KEPT}::test_the_key_changes_with_all_that_a_verdict_depends_on",
        wrong="other checks find the outcomes of the old ones",
    ),
    Mutation(
        file=CACHE,
        before='f"{self._salt} {key}"',
        after='f"{key}"',
        test=f"{KEPT}::test_seeds_stay_in_one_folder_and_cannot_be_foreseen_from_outside",
        wrong="students can compute the checks' random inputs",
    ),
    Mutation(
        file=EXERCISE,
        before="        if name in _CLOSED:",
        after="        if name not in there:",
        test=f"{RUN}::test_checks_that_are_none_are_refused_in_one_sentence",
        wrong="answers may import the room that holds the checks",
    ),
    Mutation(
        file=MARKS,
        before='return "ask your instructor" if self.status == NOT_GRADED else self.why',
        after="return self.why",
        test=f"{SAID}::test_what_the_grader_could_not_grade_has_no_points_and_is_no_zero",
        wrong="students read what went wrong with the grader",
    ),
    Mutation(
        file=REPORTS,
        before='if text.lstrip(" ").startswith(_FORMULA) else text',
        after="if text.startswith(_FORMULA) else text",
        test=f"{SAID}::test_no_cell_begins_as_a_formula_does",
        wrong="a blank in front lets a formula through",
    ),
    Mutation(
        file=REPORTS,
        before='places.feedback, instead_of=("*.html",)',
        after="places.feedback",
        test=f"{SAID}::test_reports_are_written_beside_the_table_and_old_ones_go",
        wrong="feedback of a student who is gone stays",
    ),
    Mutation(
        file=POOL,
        before="while waiting and not suspects and alone is None and len(running) < place.width:",
        after="while waiting and len(running) < place.width:",
        test=f"{RUN}::test_a_suspect_is_tried_alone",
        wrong="others die of a suspect that is tried again",
    ),
    Mutation(
        file="lora_lab/commands/grade.py",
        before='if not hasattr(os, "fork"):  # Windows',
        after='if not hasattr(os, "name"):',
        test="tests/project/test_other_systems.py::test_where_no_process_can_be_forked_grading_says_where_to_grade",
        wrong="grading begins where no process can be forked",
    ),
)
