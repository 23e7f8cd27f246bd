"""Marks for notebooks that strangers wrote: their code runs in a sandbox, the checks here."""
