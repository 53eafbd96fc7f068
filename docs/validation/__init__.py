"""Recordings of a real host beside runs of the same set-up: measured, stored, judged, told.

`python -m docs.validation` (`make validation`) measures; the page is made of what it stored.
"""
