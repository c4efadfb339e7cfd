"""`python -m hyperfitting` is the command `hyperfit`."""

from hyperfitting.cli.main import main

main()
