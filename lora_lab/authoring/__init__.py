"""Notebooks from masters: the percent format, its tags, and the editions that one master gives."""
