"""The course as a web book: `make book` makes out/book/index.html from what is stored, and executes nothing.

contents    which pages there are, and their order: the syllabus's
links       a link of the repository as one of the book
pages       a notebook as a page to be read
api         a page for each public room of the library, from its docstrings
whole       what is looked at once the pages are written: nothing missing, nothing from another server
__main__    all of it into out/, then Sphinx (conf.py), with what npm has put beside the pages
"""
