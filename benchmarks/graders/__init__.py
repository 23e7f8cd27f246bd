"""One exercise and ten submissions, in the forms of three graders: what `bench_graders.py` puts side by side."""
