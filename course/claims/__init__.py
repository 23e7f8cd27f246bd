"""The claims of `folklore.md`: one function each, which computes what is true; `course/folklore.py` says how."""
