"""`python -m openclaw_dagster.cli`, the same as `claw`."""

from openclaw_dagster.cli import main

if __name__ == "__main__":
    main()
