"""The set-up cell, which the build puts into every notebook below its opening cell.

In Colab it installs the release that the notebook belongs to, and nothing that Colab ships: a package that is replaced
there may be loaded already, and then two versions of it meet in one process. Outside Colab it imports, and says which
model the lessons use. Whatever fails ends in one sentence: until the course is installed nobody else can say it, so the
words stand in the cell; about versions `lora_lab.commands.colab` speaks.
"""

import re

TEMPLATE = r"""#@title Set-up: run this cell first
import os
import sys

class Stop(Exception):
    def _render_traceback_(self):  # its sentence alone
        return [str(self)]

address, ref = "{address}", "{ref}"
if "COLAB_RELEASE_TAG" in os.environ:  # only in Colab; what it ships (torch, numpy, ipywidgets) stays as it is
    import re
    import subprocess
    from importlib.metadata import distributions

    sources = [found.read_text("direct_url.json") or "" for found in distributions(name="lora_lab")]
    there = any(f'"{{address}}"' in source and f'"{{ref}}"' in source for source in sources)
    wanted = [] if there else [f"lora_lab @ git+{{address}}@{{ref}}"]
{more}    if wanted:
        print("Installing the course, once: about half a minute", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *wanted]
        done = subprocess.run(pip, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            ways = {{
                "did not match any": f"There is no release {{ref}} any more: open the lesson anew from {{address}}.",
                "different Python": "This Python is not the course's: Runtime > Change runtime type > Runtime version.",
                "unable to access|onnection|timed out": "Is there a network? Wait a minute, then run this again.",
                "": "Runtime > Disconnect and delete runtime, then run this again. If it stays, show your instructor.",
            }}
            way = next(ways[words] for words in ways if re.search(words, done.stderr))
            said = re.findall(r"(?mi)^ *((?:\w*error|fatal): (?!subprocess).*)", done.stderr)
            last = [f"status {{done.returncode}}", *done.stderr.strip().splitlines()[-1:], *said][-1]
            raise Stop(f"{{' and '.join(wanted)}} could not be installed. {{way}} (pip: {{last[-200:]}})")
        if "lora_lab" in sys.modules and not there:
            sys.modules["lora_lab"].__version__ = "an older one"  # until a restart

    from lora_lab.commands import colab

    colab.check(stop=Stop)
try:
    from lora_lab import models
except ModuleNotFoundError as error:
    lacks = f"{{sys.executable}}, which this notebook runs in, has no {{error.name}}"
    raise Stop(f"{{lacks}}: choose the kernel of the course's .venv, or see {{address}}#readme") from None
print(models.tier_in_words())"""

BITSANDBYTES = "bitsandbytes>=0.50,<1"
"""As pyproject.toml's extra has it."""
_MORE = f"""\
    wanted += [] if any(distributions(name="bitsandbytes")) else ["{BITSANDBYTES}"]
"""
_USES_BITSANDBYTES = re.compile(r"^\s*(?:import|from) bitsandbytes\b|\bBitsAndBytesConfig\b", re.MULTILINE)


def source(repository: dict[str, str], code: list[str]) -> str:
    """The cell's source.

    Args:
        repository: `address` and `ref` of what is installed.
        code: the notebook's own cells of code; they say whether it needs bitsandbytes, which Colab does not ship.
    """
    more = _MORE if any(map(_USES_BITSANDBYTES.search, code)) else ""
    return TEMPLATE.format(**repository, more=more)
