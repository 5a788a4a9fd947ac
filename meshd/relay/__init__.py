"""Who carries messages between agents: what a relay has to offer, and the one built in."""

from meshd.relay.interface import Relay, RelayError

__all__ = ["Relay", "RelayError"]
