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
        "tests/store/test_opening.py::test_a_lost_database_is_begun_anew_with_its_policy_and_another_epoch",
    ),
    Mutation(
        "R1: policy.json is not mirrored with a commit",
        "meshd/opening.py",
        "    store = Store(path, epoch, lambda writing: mirror(writing, file, epoch))\n",
        "    store = Store(path, epoch)\n",
        "tests/store/test_opening.py::test_a_denial_is_in_the_policy_before_whoever_asked_hears_of_it",
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
        "tests/shell/test_second_look.py::test_a_manifest_that_is_back_within_the_settle_time_was_never_gone",
    ),
    Mutation(
        "R3: a denial writes past the plan",
        "meshd/acts.py",
        "            paths = registry.paths_within(act.path)\n",
        "            paths: list[str] = []\n",
        "tests/shell/test_acts.py::test_a_denied_path_loses_its_agents_at_once_with_all_below_it",
    ),
    Mutation(
        "R4: what could not be told counts as absent",
        "meshd/core/verdict.py",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.FROZEN,",
        "    if observation.outcome is Outcome.UNKNOWN:\n"
        "        return Verdict(path, Stand.ABSENT,",
        "tests/core/test_verdict.py::test_a_look_on_a_healthy_root_counts_as_what_it_is",
    ),
    Mutation(
        "R4: a sick root does not freeze",
        "meshd/core/verdict.py",
        "    if state is None or not state.healthy:\n",
        "    if state is None:\n",
        "tests/core/test_verdict.py::test_what_goes_before_the_look_decides_whatever_the_look_says",
    ),
    Mutation(
        "R4: an older look outranks a newer one",
        "meshd/core/verdict.py",
        "observation.look > other.look",
        "observation.look < other.look",
        "tests/core/test_verdict.py::test_of_several_looks_at_a_path_the_newest_counts_in_any_order",
    ),
    Mutation(
        "R5: a batch is not closed over the other claims of an id",
        "meshd/core/closing.py",
        "            paths += claimed.get(agent_id, ())\n",
        "            pass\n",
        "tests/core/test_closing.py::test_what_could_change_the_outcome_is_asked",
    ),
    Mutation(
        "R5: rows are judged one by one, so that a path has two owners",
        "meshd/store/apply.py",
        '"UPDATE agents SET project_path = NULL WHERE id = ? AND project_path IS NOT ?"',
        '"UPDATE agents SET project_path = project_path WHERE id = ? AND ? IS NULL"',
        "tests/store/test_apply.py::test_paths_change_hands_in_one_plan_whatever_the_order",
    ),
    Mutation(
        "R6: a reader may write",
        "meshd/store/connection.py",
        "        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n"
        '        connection.pragma("query_only", value=True)\n',
        "        connection = apsw.Connection(str(path))\n"
        "        connection.set_busy_timeout(BUSY_TIMEOUT_MS)\n",
        "tests/store/test_examine.py::test_a_reading_connection_cannot_write",
    ),
    Mutation(
        "R7: a cost is applied at the first look",
        "meshd/reconciler.py",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n",
        "looked_before: Container[str] = frozenset()\n    ) -> None:\n"
        "        paths = list(paths)\n"
        "        looked_before = {path for path, _ in paths}\n",
        "tests/shell/test_second_look.py::test_a_manifest_that_is_back_within_the_settle_time_was_never_gone",
    ),
    Mutation(
        "R5: what was judged is taken though another wrote meanwhile",
        "meshd/batch.py",
        "judged is not None and judged.version == version()",
        "judged is not None",
        "tests/shell/test_bursts.py"
        "::test_a_batch_is_decided_on_what_it_was_judged_by_only_while_that_holds",
    ),
    Mutation(
        "R7: a sweep ends without what an event has put off",
        "meshd/core/pending.py",
        "                in_sweep = before.of_sweep or of_sweep\n",
        "                in_sweep = before.of_sweep and of_sweep\n",
        "tests/shell/test_syncs.py::test_a_sweep_does_not_end_without_what_an_event_had_put_off",
    ),
    Mutation(
        "R7: a row born in a sweep does not yield to a better claim of it",
        "meshd/core/closing.py",
        "    if sweep is None or row.born_sweep != sweep.number or place.agent_id != row.id:\n",
        "    if sweep is not None:\n",
        "tests/core/test_closing.py::test_costs_are_the_closed_sets_in_which_something_is_taken",
    ),
    Mutation(
        "R8: downtime counts as observed absence",
        "meshd/core/cadence.py",
        "    return min(max(elapsed, 0.0), 2 * interval)\n",
        "    return max(elapsed, 0.0)\n",
        "tests/core/test_cadence.py::test_only_observed_time_counts",
    ),
    Mutation(
        "R8: an absence no sweep has seen expires",
        "meshd/core/plan.py",
        "        and row.absent_clock is not None\n"
        "        and clock - row.absent_clock >= sweep.grace\n",
        "        and clock - (row.absent_clock or 0.0) >= sweep.grace\n",
        "tests/core/test_plan_details.py::test_where_a_project_never_seen_lay_is_not_guessed_from_what_is_above_it",
    ),
    Mutation(
        "R9: the owner of a manifest does not matter",
        "meshd/looker/look.py",
        "Reason.WRONG_OWNER",
        "Reason.EMPTY",
        "tests/shell/test_look.py::test_the_owner_rule",
    ),
    Mutation(
        "R9: duplicate keys are taken",
        "meshd/core/manifest.py",
        "object_pairs_hook=_unique_keys",
        "object_pairs_hook=dict",
        "tests/core/test_manifest_refused.py::test_what_is_not_one_plain_json_object_is_refused",
    ),
    Mutation(
        "R10: an observed clock is written while no row waits",
        "meshd/course.py",
        "            if root in waiting and ",
        "            if ",
        "tests/shell/test_quiet_sweep.py::test_only_the_clock_of_a_root_where_a_row_waits_is_written",
    ),
    Mutation(
        "R10: an unchanged claim is written again",
        "meshd/core/claims.py",
        "_CLAIMED(new) != _CLAIMED(old)",
        "new != old",
        "tests/shell/test_quiet_sweep.py::test_files_too_young_to_be_trusted_are_read_again_and_commit_nothing",
    ),
    Mutation(
        "R11: the end of an actor is not noticed",
        "meshd/supervisor.py",
        "            self.wakeups.put(Exit(actor.name, error))\n",
        "            pass\n",
        "tests/shell/test_supervisor.py"
        "::test_an_actor_that_raises_is_told_and_reported_once_with_its_traceback",
    ),
    Mutation(
        "mass guard: nothing is ever held",
        "meshd/core/guard.py",
        "AT_LEAST = 5",
        "AT_LEAST = 5_000_000",
        "tests/core/test_guard.py::test_over_half_and_at_least_five_are_held",
    ),
)
