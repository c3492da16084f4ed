"""gatewayd: the mail door for AI agents and applications."""

__version__ = "0.1.0"
