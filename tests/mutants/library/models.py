"""Small wrong changes to loading models, and to the doctor."""

from tests.mutants.library.mutation import Mutation

_MODELS, _CLI = "tests/models/test_models.py", "tests/commands/test_cli.py"
_WARNED = f"{_MODELS}::test_what_transformers_only_warns_of_is_damage"

_REAL = "tests/models/test_real.py"

TESTS = (
    "tests/models/test_models.py",
    "tests/models/test_real.py",
    "tests/commands/test_cli.py",
)

MUTATIONS = (
    Mutation(
        file="lora_lab/models/real.py",
        before="return folder.is_dir() and verify(folder) > 0",
        after="return folder.is_dir()",
        test=f"{_REAL}::test_a_damaged_copy_that_cannot_be_fetched_anew_is_called_damaged",
        wrong="a damaged copy of the real model is loaded",
    ),
    Mutation(
        file="lora_lab/models/real.py",
        before="    if not GGUF.is_at(file):",
        after="    if not file.exists():",
        test=f"{_REAL}::test_a_package_that_holds_another_model_is_refused",
        wrong="another model is taken for the real one",
    ),
    Mutation(
        file="lora_lab/models/real.py",
        before="    if free < NEEDED:",
        after="    if free < 0:",
        test=f"{_REAL}::test_a_full_disk_is_said_before_the_download",
        wrong="a disk is filled before anybody asks whether there is room",
    ),
    Mutation(
        file="lora_lab/models/real.py",
        before="    if not from_gguf.available():",
        after="    if False:",
        test=f"{_REAL}::test_without_the_package_gguf_nothing_is_downloaded",
        wrong="what cannot be read is downloaded",
    ),
    Mutation(
        file="lora_lab/models/hub.py",
        before="return folder if whole else None",
        after="return folder",
        test=f"{_REAL}::test_what_the_hub_gave_before_is_taken_without_asking_anybody",
        wrong="half of a hub model passes for the whole",
    ),
    Mutation(
        file="lora_lab/models/from_gguf.py",
        before='float(f"{read.rms_norm_eps:.6g}")',
        after="read.rms_norm_eps",
        test=f"{_REAL}::test_what_is_converted_is_a_plain_model_of_the_hub",
        wrong="the configuration is not the hub model's",
    ),
    Mutation(
        file="lora_lab/models/from_gguf.py",
        before="        eos_token=END_OF_TURN,",
        after="        eos_token=tokenizer.unk_token,",
        test=f"{_REAL}::test_what_is_converted_is_a_plain_model_of_the_hub",
        wrong="answers never end",
    ),
    Mutation(
        file="lora_lab/models/base.py",
        before="_ON_THE_HUB.fullmatch(name)",
        after="_ON_THE_HUB.match(name)",
        test=f"{_REAL}::test_a_name_that_is_none_says_which_there_are[org/model\\n-no folder]",
        wrong="the hub is asked for what is no name",
    ),
    Mutation(
        file="lora_lab/models/base.py",
        before="return wanted == EMBEDDED",
        after="return False",
        test=f"{_REAL}::test_under_build_and_tests_the_embedded_base_stands_in",
        wrong="a lesson's outputs depend on what has been fetched",
    ),
    Mutation(
        file="lora_lab/models/base.py",
        before='    if ignored := sorted(report["unexpected_keys"]):',
        after='    if ignored := sorted(report["missing_keys"]):',
        test=f"{_WARNED}[config0-None-no place for 9 of its weights, 'model.layers.1.input_layernorm.weight']",
        wrong="half of a model is loaded",
    ),
    Mutation(
        file="lora_lab/models/base.py",
        before="head.weight is not embedding.weight",
        after="head.weight.shape != embedding.weight.shape",
        test=f"{_WARNED}[None-<lambda>-ties the output head]",
        wrong="a head that is not tied passes for one that is",
    ),
    Mutation(
        file="lora_lab/models/base.py",
        before="        if not torch.isfinite(parameter).all():",
        after="        if torch.isnan(parameter).any():",
        test=f"{_MODELS}::test_weights_that_the_tiers_dtype_cannot_hold_are_named",
        wrong="infinite weights are loaded",
    ),
    Mutation(
        file="lora_lab/models/checksums.py",
        before="            if name not in sums:",
        after="            if name not in (*sums, *_files_that_loading_reads(folder)):",
        test=f"{_MODELS}::test_a_file_of_another_save_is_not_taken_for_part_of_the_model[special_tokens_map.json]",
        wrong="a file of another save is read with this one",
    ),
    Mutation(
        file="lora_lab/models/checksums.py",
        before="for name in dict.fromkeys((*REQUIRED, *sums)):",
        after="for name in sums:",
        test=f"{_MODELS}::test_damaged_checksums_do_not_pass_for_good_ones[{{}}]",
        wrong="empty checksums pass for good ones",
    ),
    Mutation(
        file="lora_lab/models/tiers.py",
        before='        ranges.choice("method", method, METHODS)\n',
        after="",
        test=f"{_MODELS}::test_a_method_that_no_tier_knows_has_no_rate",
        wrong="a typo gets the adapters' rate",
    ),
    Mutation(
        file="lora_lab/network/pip_settings.py",
        before='parts.netloc.rpartition("@")[2]',
        after="parts.netloc",
        test=f"{_CLI}::test_the_package_index_is_the_one_that_pip_asks[global.index-url='https://zoe:s3cret@e.example:8443/x?token=s3cret'\\n-environment6-https://e.example:8443/x]",
        wrong="the doctor shows a password",
    ),
    Mutation(
        file="lora_lab/network/pip_settings.py",
        before='f"{kind}.{name}") for kind in (":env:", "install", "global"))',
        after='f"{kind}.{name}") for kind in ("global", "install", ":env:"))',
        test=f"{_CLI}::test_the_package_index_is_the_one_that_pip_asks[:env:.index-url='https://c.example'\\nglobal.index-url='https://a.example'\\n-environment4-https://c.example]",
        wrong="the index in a file beats the one in the environment",
    ),
    Mutation(
        file="lora_lab/commands/doctor.py",
        before='print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)',
        after="print(text, flush=True)",
        test=f"{_CLI}::test_output_that_cannot_encode_a_path_is_no_traceback",
        wrong="the doctor dies of a path that cannot be printed",
    ),
    Mutation(
        file="lora_lab/commands/finding.py",
        before="    except (Exception, SystemExit) as error:  # a broken install can",
        after="    except OSError as error:  # a broken install can",
        test=f"{_CLI}::test_an_error_without_a_message_is_named_by_its_type",
        wrong="a check that breaks ends the doctor",
    ),
)
