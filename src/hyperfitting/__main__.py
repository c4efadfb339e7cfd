"""`python -m hyperfitting` is the command `hyperfit`."""

from hyperfitting.entry import main

main()
