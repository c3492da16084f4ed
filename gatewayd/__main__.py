"""`python -m gatewayd` is the CLI."""

from gatewayd.cli.main import run

if __name__ == "__main__":
    run()
