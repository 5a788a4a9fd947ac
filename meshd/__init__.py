"""meshd: a registry of agents that is always what the files say."""

__version__ = "0.1.0"
