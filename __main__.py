"""`python -m lora_alloy`: the command line."""

from .core.cli.main import main  # type: ignore[import-not-found]

raise SystemExit(main())
