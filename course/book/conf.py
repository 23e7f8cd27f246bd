"""Sphinx's settings. `make book` calls it; what is built lies in out/."""

import ast
import itertools
import re
import textwrap

from sphinx.ext.napoleon import Config, GoogleDocstring

import lora_lab

project = "lora_lab"
author = "the lora_lab authors"
copyright = "the lora_lab authors, under the Apache License 2.0"
version = release = lora_lab.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["_static"]
suppress_warnings = ["ref.python"]  # an attribute named in an annotation that several classes have

nb_execution_mode = "off"  # the outputs are stored
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
myst_url_schemes = {"http": None, "https": None, "mailto": None, "beside": "{{path}}"}  # the last is of links.py

# MathJax 3 lies beside the pages (course/npm.py): nothing is asked of another server.
mathjax_path = "mathjax/es5/tex-mml-chtml.js"
mathjax3_config = {
    "options": {"processHtmlClass": "math|output_area", "ignoreHtmlClass": "document"},
    "chtml": {"mtextInheritFont": True},
}

# Docstrings are Google's form, with our own "Source"; what stands between single backticks is code.
default_role = "literal"
_GOOGLE = Config(
    napoleon_numpy_docstring=False,
    napoleon_use_rtype=False,
    napoleon_use_ivar=True,
    napoleon_custom_sections=[("Source", "notes_style")],
)
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_title = "lora_lab"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 1,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "navigation_with_keys": True,
    "back_to_top_button": False,
}
templates_path = []
highlight_language = "none"  # a block without a language is mostly none; a notebook says its own


_SECTION = re.compile(r"\s*(Args|Returns|Raises|Yields|Attributes|Source|Example|Examples|Note):\s*$")
_CODE_OR_BAR = re.compile(r"(`+.*?`+)|\|")


def _docstring(app, what, name, thing, options, lines):
    """A docstring of ours in reStructuredText, in place."""
    _as_restructured(lines)
    if what in ("property", "attribute", "data"):  # whose first words, up to a colon, would be taken for a type
        what = "method"
    lines[:] = GoogleDocstring(list(lines), _GOOGLE, app, what, name, thing, options).lines()


def _as_restructured(lines):
    """Two of their habits: an indented block between paragraphs is code, and "|" is a bar."""
    for number in range(len(lines) - 1, -1, -1):
        block = _block_of_code(lines, number)
        if block:
            language = "python" if _is_python(block) else "text"
            lines[number:number] = [f".. code-block:: {language}", ""]
    code = [False] * len(lines)
    for number, line in enumerate(lines):
        code[number] = line.startswith(".. code") or (number > 0 and code[number - 1] and line[:1] in ("", " "))
        if not code[number]:
            lines[number] = _CODE_OR_BAR.sub(lambda found: found[1] or r"\|", line)


def _block_of_code(lines, number):
    """The indented lines that begin here, if they stand under a paragraph that no section opens."""
    if number < 2 or not lines[number].startswith("    ") or lines[number - 1].strip():
        return []
    above = lines[number - 2]
    if not above.strip() or above.startswith(" ") or above.endswith("::") or _SECTION.match(above):
        return []
    return list(itertools.takewhile(lambda line: not line.strip() or line.startswith("    "), lines[number:]))


def _is_python(block):
    try:
        ast.parse(textwrap.dedent("\n".join(block)))
    except SyntaxError:
        return False
    return True


def setup(app):
    app.connect("autodoc-process-docstring", _docstring)
