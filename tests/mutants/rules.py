"""Faults that break a rule of the design each."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutation import Mutation

RULES: Final = (
    Mutation(
        "R1: a rebuild forgets the denials",
        "meshd/opening.py",
        "    for denial in policy.denials:\n",
        "    for denial in ():\n",
        "tests/store/test_opening.py",
    ),
    Mutation(
        "R1: policy.json is not mirrored with a commit",
        "meshd/opening.py",
        "    store = Store(path, epoch, lambda writing: mirror(writing, file, epoch))\n",
        "    store = Store(path, epoch)\n",
        "tests/store/test_opening.py",
    ),
    Mutation(
        "R2: an event is taken for what happened",
        "meshd/batch.py",
        "        return observations\n\n    def close(",
        "        return [\n"
        "            replace(one, outcome=Outcome.ABSENT, manifest=None)\n"
        "            if one.source is Source.WATCH\n"
        "            else one\n"
        "            for one in observations\n"
        "        ]\n\n    def close(",
        "tests/shell/test_second_look.py",
    ),
    Mutation(
        "R3: a denial writes past the plan",
        "meshd/acts.py",
        "            paths = registry.paths_within(act.path)\n",
        "            paths: list[str] = []\n",
        "tests/shell/test_acts.py",
    ),
    Mutation(
        "R4: what could not be told counts as absent",
        "meshd/core/verdict.py",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.FROZEN,",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.ABSENT,",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R4: a sick root does not freeze",
        "meshd/core/verdict.py",
        "    if state is None or not state.healthy:\n",
        "    if state is None:\n",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R4: an older look outranks a newer one",
        "meshd/core/verdict.py",
        "observation.look > other.look",
        "observation.look < other.look",
        "tests/core/test_verdict.py",
    ),
    Mutation(
        "R5: a batch is not closed over the other claims of an id",
        "meshd/core/closing.py",
        "            paths += claimed.get(agent_id, ())\n",
        "            pass\n",
        "tests/core/test_closing.py",
    ),
    Mutation(
        "R5: rows are judged one by one, so that a path has two owners",
        "meshd/store/apply.py",
        '"UPDATE agents SET project_path = NULL WHERE id = ? AND project_path IS NOT NULL"',
        '"UPDATE agents SET project_path = project_path WHERE id = ?"',
        "tests/store/test_apply.py",
    ),
    Mutation(
        "R6: a reader may write",
        "meshd/store/connection.py",
        "        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n"
        '        connection.pragma("query_only", value=True)\n',
        "        connection = apsw.Connection(str(path))\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n",
        "tests/store",
    ),
    Mutation(
        "R7: a cost is applied at the first look",
        "meshd/reconciler.py",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n"
        "        paths = list(paths)\n"
        "        looked_before = {path for path, _ in paths}\n",
        "tests/shell/test_second_look.py",
    ),
    Mutation(
        "R7: a row born in a sweep does not yield to a better claim of it",
        "meshd/core/closing.py",
        "    if sweep is None or row.born_sweep != sweep.number or place.agent_id != row.id:\n",
        "    if sweep is not None:\n",
        "tests/stateful/test_registry_machine.py",
    ),
    Mutation(
        "R8: downtime counts as observed absence",
        "meshd/core/cadence.py",
        "    return min(max(elapsed, 0.0), 2 * interval)\n",
        "    return max(elapsed, 0.0)\n",
        "tests/core/test_cadence.py",
    ),
    Mutation(
        "R8: an absence no sweep has seen expires",
        "meshd/core/plan.py",
        "        and row.absent_clock is not None\n"
        "        and clock - row.absent_clock >= sweep.grace\n",
        "        and clock - (row.absent_clock or 0.0) >= sweep.grace\n",
        "tests/core",
    ),
    Mutation(
        "R9: the owner of a manifest does not matter",
        "meshd/looker/look.py",
        "Reason.WRONG_OWNER",
        "Reason.EMPTY",
        "tests/shell/test_look.py",
    ),
    Mutation(
        "R9: duplicate keys are taken",
        "meshd/core/manifest.py",
        "object_pairs_hook=_unique_keys",
        "object_pairs_hook=dict",
        "tests/core/test_manifest_refused.py",
    ),
    Mutation(
        "R10: an observed clock is written while no row waits",
        "meshd/course.py",
        "            if root in waiting and ",
        "            if ",
        "tests/shell/test_quiet_sweep.py",
    ),
    Mutation(
        "R10: an unchanged claim is written again",
        "meshd/core/claims.py",
        "replace(new, look=old.look, looked_at_ns=old.looked_at_ns) != old",
        "new != old",
        "tests/shell/test_quiet_sweep.py",
    ),
    Mutation(
        "R11: the end of an actor is not noticed",
        "meshd/supervisor.py",
        "            self.wakeups.put(Exit(actor.name, error))\n",
        "            pass\n",
        "tests/shell/test_supervisor.py",
    ),
    Mutation(
        "mass guard: nothing is ever held",
        "meshd/core/guard.py",
        "AT_LEAST = 5",
        "AT_LEAST = 5_000_000",
        "tests/core/test_guard.py",
    ),
)
