"""``python -m smalti.cli``, and with it ``torchrun -m smalti.cli``."""

from smalti.cli import main

main()
