"""Slides of a lesson: `words` says what of a text is projected, `deck` which slides a notebook gives, `page` how they
are written for reveal.js. `course/make_slides.py` makes them all."""
