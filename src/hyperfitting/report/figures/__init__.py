"""Records to matplotlib figures, one function per figure.

Drawn once with a neutral ink that the page replaces by its own text colour, so that one SVG
serves a light and a dark page.
"""
