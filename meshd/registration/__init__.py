"""Register, update and unregister: files first, then the registry.

Owns the acts that change manifests. They pass the inbox, the looker, the plan and the writer as
everything else (R3), on the reconciler's thread, so that calls on one project come one after
the other, and no look falls in between. Promises: an acknowledged call survives the death of
the process and of the machine; one that fails leaves files and rows as they were.
"""

from meshd.registration.acts import Registration

__all__ = ["Registration"]
