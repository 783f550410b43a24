# What CI runs, by hand, in .venv (see README).
.PHONY: check format
check:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest -q
format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
