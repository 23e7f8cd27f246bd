"""The emulated Colab of `tests/colab/`: making one of its environments leaves the others."""

from pathlib import Path

from tests.colab import emulated


def test_an_environment_is_made_anew_without_those_whose_names_begin_alike(tmp_path: Path) -> None:
    for name in ("colab-0123456789ab", "colab-fedcba987654", "colab-python-abcdefabcdef", "colab-notes"):
        (tmp_path / name).mkdir()
    assert {path.name for path in emulated.earlier(tmp_path, "colab")} == {"colab-0123456789ab", "colab-fedcba987654"}
    assert [path.name for path in emulated.earlier(tmp_path, "colab-python")] == ["colab-python-abcdefabcdef"]
