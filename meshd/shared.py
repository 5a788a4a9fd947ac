"""What the stations of the flow share.

Owns nothing; it is the list of the parts that inbox, sweeper and reconciler meet at. Each
part says itself which threads may use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from meshd.batch import Looking
    from meshd.clock import Clock
    from meshd.committer import Committer
    from meshd.inbox import Inbox
    from meshd.roots import Roots
    from meshd.signatures import Signatures
    from meshd.store.store import Store


@dataclass(slots=True)
class Trust:
    """Whom the operator trusts; a reload replaces it.

    Attributes:
        system: ids that everyone may reach and that may reach everyone (`[relay] system`).
    """

    system: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Shared:
    """The parts around one open store.

    Attributes:
        roots: what is scanned, and how it is.
        inbox: the one way in.
        store: the database.
        signatures: what was read last.
        looking: looks at projects; the reconciler's.
        committer: hands operations to the writer; the reconciler's.
        clock: the time.
        log: one event per decision.
        trust: whom the operator trusts.
    """

    roots: Roots
    inbox: Inbox
    store: Store
    signatures: Signatures
    looking: Looking
    committer: Committer
    clock: Clock
    log: FilteringBoundLogger
    trust: Trust = field(default_factory=Trust)
