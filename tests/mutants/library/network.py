"""Small wrong changes to finding a file on a package index, and to downloading it."""

from tests.mutants.library.mutation import Mutation

_TESTS = "tests/network/test_network.py"

TESTS = (_TESTS,)

MUTATIONS = (
    Mutation(
        file="lora_lab/network/downloading.py",
        before='return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256',
        after="return True",
        test=f"{_TESTS}::test_a_file_with_another_hash_is_refused_and_not_kept[content0]",
        wrong="a file with another hash is kept",
    ),
    Mutation(
        file="lora_lab/network/downloading.py",
        before='asked = {"Range": f"bytes={start}-"} if start else {}',
        after="asked: dict[str, str] = {}",
        test=f"{_TESTS}::test_a_connection_that_breaks_is_taken_up_where_it_broke",
        wrong="a download begins again after each interruption",
    ),
    Mutation(
        file="lora_lab/network/downloading.py",
        before="start = start if goes_on and answer.status == 206 else 0",
        after="start = start",
        test=f"{_TESTS}::test_a_server_that_cannot_go_on_begins_anew",
        wrong="a whole file is added to a part of it",
    ),
    Mutation(
        file="lora_lab/network/downloading.py",
        before="            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:\n                raise\n",
        after="",
        test=f"{_TESTS}::test_a_server_that_refuses_is_named_with_its_reason[403]",
        wrong="a refusal costs what was downloaded",
    ),
    Mutation(
        file="lora_lab/network/downloading.py",
        before="            if not before:  # else",
        after="            if True:  # else",
        test=f"{_TESTS}::test_what_was_left_of_another_file_is_thrown_away[left0]",
        wrong="what was left of another file stands in the way for good",
    ),
    Mutation(
        file="lora_lab/network/indexes.py",
        before="if offer.name == file",
        after="if offer.name.startswith(file.partition('-')[0])",
        test=f"{_TESTS}::test_another_version_is_not_taken_for_the_file",
        wrong="another version is downloaded",
    ),
    Mutation(
        file="lora_lab/network/indexes.py",
        before="address=web.like(each.address, index)",
        after="address=each.address",
        test=f"{_TESTS}::test_name_and_password_go_to_their_own_server_only",
        wrong="the index's own files are asked for without the password",
    ),
    Mutation(
        file="lora_lab/network/web.py",
        before='    if not same or "@" in parts.netloc:',
        after='    if "@" in parts.netloc:',
        test=f"{_TESTS}::test_name_and_password_go_to_their_own_server_only",
        wrong="the index's password is sent to whom its page names",
    ),
    Mutation(
        file="lora_lab/network/pip_settings.py",
        before='*self.get("extra-index-url").split()',
        after="",
        test=f"{_TESTS}::test_further_indexes_and_local_folders_are_asked_too",
        wrong="further indexes are not asked",
    ),
    Mutation(
        file="lora_lab/network/web.py",
        before="_context(urlsplit(request.full_url), self._settings)",
        after="ssl._create_unverified_context()",
        test=f"{_TESTS}::test_a_server_that_vouches_for_itself_is_refused_in_one_sentence_and_asked_nothing",
        wrong="no certificate is looked at",
    ),
    Mutation(
        file="lora_lab/network/web.py",
        before="for path in named if path and os.path.exists(path))",
        after="for path in named if False)",
        test=f"{_TESTS}::test_a_certificate_that_the_user_names_is_believed",
        wrong="pip's certificate is not believed",
    ),
)
