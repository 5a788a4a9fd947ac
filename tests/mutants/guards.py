"""Faults that take away a guard or a compensation each."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutation import Mutation

GUARDS: Final = (
    Mutation(
        "registration: what failed is not undone",
        "meshd/registration/carrier.py",
        "        except MeshdError:\n"
        "            self._undo(undertaking, looker, done)\n"
        "            raise\n",
        "        except MeshdError:\n            raise\n",
        "tests/registration/test_every_step.py::test_a_commit_that_fails_undoes_what_was_done_to_files",
    ),
    Mutation(
        "registration: a newer save of the owner is undone too",
        "meshd/looker/writing.py",
        "        elif not holds(dork, MANIFEST, swap.new, self.ours):\n"
        "            return  # never put, or replaced by its owner since\n",
        "",
        "tests/registration/test_meanwhile.py::test_at_no_step_is_what_the_owner_does_undone",
    ),
    Mutation(
        "registration: a save between look and swap is lost",
        "meshd/looker/writing.py",
        "        if swap.previous is not None and not holds(dork, swap.temporary, swap.previous):\n"
        "            return Trouble(Obstacle.CHANGED)\n"
        "        sync(dork)\n"
        "        return ours\n",
        "        sync(dork)\n        return ours\n",
        "tests/registration/test_meanwhile.py::test_at_no_step_is_what_the_owner_does_undone",
    ),
    Mutation(
        "registration: what earlier runs have left is not finished",
        "meshd/registration/carrier.py",
        "            if undertaking.number not in self._clearing:\n"
        "                self._finish(undertaking)\n",
        "            pass\n",
        "tests/registration/test_every_step.py::test_a_step_that_fails_leaves_all_as_it_was",
    ),
    Mutation(
        "registration: a first manifest takes the place of one that was saved meanwhile",
        "meshd/looker/writing.py",
        "                take_name(dork, swap.temporary, MANIFEST)\n            else:\n",
        "                import os\n"
        "                os.replace(swap.temporary, MANIFEST, src_dir_fd=dork, dst_dir_fd=dork)\n"
        "            else:\n",
        "tests/registration/test_meanwhile.py::test_at_no_step_is_what_the_owner_does_undone",
    ),
    Mutation(
        "registration: what is written to the previous file after the swap is lost",
        "meshd/looker/writing.py",
        "        return data is not None and hashlib.sha256(data).hexdigest() != swap.previous\n",
        "        return False\n",
        "tests/registration/test_meanwhile.py::test_what_is_written_into_the_file_we_replaced_is_put_back",
    ),
    Mutation(
        "registration: what is no manifest is overwritten",
        "meshd/registration/sites.py",
        "    if seen.outcome is Outcome.INVALID:\n        raise InvalidManifestError(",
        "    if False:\n        raise InvalidManifestError(",
        "tests/registration/test_register.py::test_a_symlinked_dork_redirects_nothing",
    ),
    Mutation(
        "registration: If-Match is not asked",
        "meshd/registration/acts.py",
        "        elif row.seq == expected:\n            return\n",
        "        else:\n            return\n",
        "tests/registration/test_update.py::test_a_second_update_on_the_same_number_is_refused",
    ),
    Mutation(
        "registration: the new file belongs to the daemon",
        "meshd/looker/files.py",
        "        return Ownership(status.st_uid, before.st_gid, before.st_mode & _PERMISSIONS)",
        "        return Ownership(os.geteuid(), before.st_gid, 0o600)",
        "tests/registration/test_ground.py::test_an_update_keeps_owner_group_and_mode",
    ),
    Mutation(
        "relay: an agent it has not confirmed is routed to",
        "meshd/core/access.py",
        "        if agent.id in pending:\n",
        "        if False:\n",
        "tests/core/test_access.py::test_who_has_no_confirmed_endpoint_neither_reaches_nor_is_reached",
    ),
    Mutation(
        "relay: a manifest grants itself the rules of the system",
        "meshd/core/access.py",
        "    if caller.id in system_ids or target.id in system_ids:\n",
        "    if caller.id in system_ids or target.id in system_ids or caller.is_system:\n",
        "tests/core/test_access.py::test_a_manifest_that_calls_itself_system_gains_nothing",
    ),
    Mutation(
        "relay: one that fails is asked without a pause",
        "meshd/announcer.py",
        "        if now < self._retry_at:\n",
        "        if False:\n",
        "tests/relay/test_outside.py::test_a_relay_that_is_down_is_tried_ever_later_and_told_of_once",
    ),
    Mutation(
        "relay: what a relay lost is not told again",
        "meshd/announcer.py",
        "            lost = self._relay.reconcile(endpoints, list(wanted.values()))\n",
        "            lost: list[str] = []\n",
        "tests/relay/test_actor.py::test_a_commit_wakes_the_relay_and_its_confirmation_comes_back",
    ),
    Mutation(
        "roots: a sweep does not ask again before it takes",
        "meshd/course.py",
        "            if not check.healthy:\n                sick[root] = replace(",
        "            if False:\n                sick[root] = replace(",
        "tests/shell/test_root_attacks.py::test_nothing_is_believed_of_a_tree_exchanged_after_its_check_in_the_same_sweep",
    ),
    Mutation(
        "roots: another tree in a root's place is taken for it",
        "meshd/looker/health.py",
        "    if known in (None, found.identity) and seen in (None, found):\n",
        "    if True:\n",
        "tests/shell/test_roots.py::test_a_root_that_is_not_the_one_first_seen_is_sick",
    ),
    Mutation(
        "store: a sound database is begun anew for one refused read",
        "meshd/daemon.py",
        "        return found is not Condition.OURS, suspicion\n",
        "        return True, suspicion\n",
        "tests/faults/test_disk.py::test_101_to_104_a_disk_that_refuses_degrades_and_costs_nothing",
    ),
    Mutation(
        "roots: an acceptance is taken back by an older check",
        "meshd/course.py",
        "            if known.identity != check.against:\n",
        "            if False:\n",
        "tests/shell/test_accepting_roots.py::test_an_accepted_root_is_not_made_sick_by_a_check_that_is_older",
    ),
    Mutation(
        "roots: an absence on another file system counts",
        "meshd/core/verdict.py",
        "        and observation.filesystem != claim.filesystem\n",
        "        and False\n",
        "tests/core/test_verdict.py::test_an_absence_counts_only_on_the_file_system_the_project_lay_on",
    ),
    Mutation(
        "identity: a clone inherits after a rebuild while the old path cannot be read",
        "meshd/core/plan.py",
        "    if holder is not None and not holder.releases(agent_id) and ",
        "    if False and ",
        "tests/core/test_plan_rows.py::test_a_look_means",
    ),
    Mutation(
        "identity: a worktree is as good as a main checkout",
        "meshd/core/verdict.py",
        "        verdict.observation.git is Git.WORKTREE,\n",
        "        False,\n",
        "tests/core/test_plan_rows.py::test_a_look_means",
    ),
    Mutation(
        "identity: a bind mount is a duplicate",
        "meshd/core/verdict.py",
        "    return dork is not None and dork == other.observation.dork and ",
        "    return False and ",
        "tests/core/test_plan_pairs.py::test_a_move_of_a_bind_mount_is_one_relocation_and_an_alias",
    ),
    Mutation(
        "settling: what is torn counts at once",
        "meshd/core/settling.py",
        "        if path in self._counting:\n            return False\n",
        "        return False\n",
        "tests/shell/test_syncs.py::test_a_sync_waits_for_what_does_not_parse_until_it_is_recorded",
    ),
    Mutation(
        "watch: an overflow leads to no sweep",
        "meshd/watcher/observer.py",
        "        self.looker.table.distrusted = True\n"
        "        self.queue_event(LostEvent(self.looker.root))\n",
        "        self.looker.table.distrusted = True\n",
        "tests/watcher/test_overflow.py::test_an_overflow_is_told_counted_and_asks_for_every_root_once",
    ),
    Mutation(
        "watch: nobody notices that the canary is silent",
        "meshd/watcher/watcher.py",
        "        if self._canary.watch == NO_CANARY or silence > LONGEST_SILENCE:\n",
        "        if self._canary.watch == NO_CANARY:\n",
        "tests/watcher/test_actor.py::test_a_canary_that_was_removed_or_replaced_sings_again",
    ),
    Mutation(
        "watch: a lost cookie counts as heard",
        "meshd/services.py",
        "        if cookie.cancelled() or cookie.exception() is not None:\n"
        "            self._sync_by_sweep(result)\n"
        "            return\n",
        "",
        "tests/shell/test_syncs.py::test_a_cookie_that_does_not_come_is_given_up_for_a_sweep",
    ),
    Mutation(
        "mass guard: the next sweep agrees at once",
        "meshd/core/guard.py",
        "AGREES_AFTER = 60.0",
        "AGREES_AFTER = 0.0",
        "tests/core/test_guard.py::test_a_sweep_a_minute_later_agrees",
    ),
    Mutation(
        "quota: whoever comes is let in",
        "meshd/core/quota.py",
        "self._of_owner[owner] >= most",
        "False",
        "tests/core/test_quota.py::test_newcomers_get_the_room_there_is_and_the_rest_is_refused_with_its_reason",
    ),
    Mutation(
        "reload: a refused configuration is taken in part",
        "meshd/reloading.py",
        "        check_places(new, ",
        "        self.settings = new\n        check_places(new, ",
        "tests/system/test_signals.py::test_keys_that_need_a_restart_are_named",
    ),
    Mutation(
        "reload: a root in the state directory's place is taken",
        "meshd/reloading.py",
        "    if scope.judge(resolved).refusal is None:\n",
        "    if False:\n",
        "tests/shell/test_refused_places.py::test_a_state_directory_that_is_scanned_is_refused",
    ),
    Mutation(
        "socket: any user may write",
        "meshd/api/peers.py",
        "    return peer.uid in (0, os.geteuid())\n",
        "    return True\n",
        "tests/api/test_gate.py::test_who_may_write_is_the_kernels_word",
    ),
    Mutation(
        "socket: a body that does not say how long it is is read to its end",
        "meshd/api/peers.py",
        "        if taken > BODY_LIMIT_BYTES:\n",
        "        if False:\n",
        "tests/api/test_gate.py::test_a_body_may_not_be_larger_than_the_limit",
    ),
    Mutation(
        "loopback: any token fits",
        "meshd/api/loopback.py",
        "        return hmac.compare_digest(self._value, given)\n",
        "        return True\n",
        "tests/api/test_loopback.py::test_without_the_token_nothing_is_answered",
    ),
    Mutation(
        "loopback: any page may ask",
        "meshd/api/loopback.py",
        '    if not all(_is_loopback(value) for name, value in headers if name == b"origin"):\n',
        "    if False:\n",
        "tests/api/test_loopback.py::test_a_page_from_elsewhere_is_refused_even_with_the_token",
    ),
    Mutation(
        "feed: a number of another epoch is taken",
        "meshd/api/changes.py",
        "        if position.epoch not in (None, self.epoch):\n",
        "        if False:\n",
        "tests/api/test_feed.py::test_a_database_that_was_rebuilt_is_another_epoch",
    ),
    Mutation(
        "look: symlinks on the way are followed",
        "meshd/looker/syscalls.py",
        "_RESOLVE: Final = 0x08 | 0x04 | 0x02",
        "_RESOLVE: Final = 0x08 | 0x02",
        "tests/shell/test_look.py::test_what_is_gone_is_absent",
    ),
    Mutation(
        "look: a pipe is opened",
        "meshd/looker/look.py",
        "    if not stat.S_ISREG(status.st_mode):\n        return Reason.NOT_REGULAR\n",
        "",
        "tests/shell/test_look.py::test_what_is_not_a_manifest_is_invalid_and_never_read",
    ),
    Mutation(
        "look: another user's file may be linked in",
        "meshd/looker/look.py",
        "    return status.st_uid in (0, os.geteuid()) and status.st_nlink == 1\n",
        "    return status.st_uid in (0, os.geteuid())\n",
        "tests/shell/test_look.py::test_the_owner_rule",
    ),
    Mutation(
        "look: a file that changes while it is read is believed",
        "meshd/looker/look.py",
        "    data = read_bounded(manifest)\n"
        "    if signature_of(os.fstat(manifest)) != facts.signature:\n"
        "        return _CHANGED\n",
        "    data = read_bounded(manifest)\n",
        "tests/shell/test_look.py::test_a_file_that_grows_while_it_is_read_is_not_judged",
    ),
    Mutation(
        "output: a terminal takes what a manifest says",
        "meshd/escaping.py",
        "    if text.isprintable():\n        return text\n",
        "    return text\n",
        "tests/shell/test_log.py::test_a_hostile_value_stays_on_its_line_and_shows_its_bytes",
    ),
    Mutation(
        "manifest: secrets of servers are kept",
        "meshd/core/manifest.py",
        '{"name": server.name, "enabled": server.enabled} for',
        "server.model_dump() for",
        "tests/core/test_manifest.py::test_every_field_of_both_generations_is_read_and_shown",
    ),
    Mutation(
        "store: a full disk fails one operation and not its batch",
        "meshd/store/writer.py",
        "    except (apsw.FullError, apsw.IOError):\n"
        "        # The disk failed, not the operation: the batch fails as one.\n"
        "        raise\n",
        "",
        "tests/store/test_writer.py::test_an_io_error_fails_the_batch_and_the_connection_is_opened_anew",
    ),
    Mutation(
        "store: a connection is trusted after an I/O error",
        "meshd/store/writer.py",
        "            self._poisoned = True\n        if",
        "            pass\n        if",
        "tests/store/test_writer.py::test_an_io_error_fails_the_batch_and_the_connection_is_opened_anew",
    ),
    Mutation(
        "store: a commit waits for no disk",
        "meshd/store/connection.py",
        '    connection.pragma("synchronous", "full")\n',
        '    connection.pragma("synchronous", "off")\n',
        "tests/faults/test_power.py::test_105_a_power_cut_at_any_point_loses_nothing_that_was_acknowledged",
    ),
    Mutation(
        "store: a database that was moved away is written on",
        "meshd/store/connection.py",
        "    answer = ctypes.c_int(0)\n    connection.file_control(",
        "    return False\n    connection.file_control(",
        "tests/store/test_examine.py::test_a_database_moved_away_while_open_is_noticed",
    ),
    Mutation(
        "store: a newer database is migrated back",
        "meshd/store/migrations.py",
        "    if present > len(known):\n        raise NewerDatabaseError(",
        "    if False:\n        raise NewerDatabaseError(",
        "tests/store/test_migrations.py::test_a_newer_database_is_refused_and_left_alone",
    ),
    Mutation(
        "store: what looks damaged is examined no better than what does not",
        "meshd/store/connection.py",
        '    check = "integrity_check" if thorough else "quick_check"\n',
        '    check = "quick_check"\n',
        "tests/store/test_examine.py::test_a_wrong_key_of_an_index_is_found_by_a_thorough_examination_alone",
    ),
    Mutation(
        "store: what looked damaged is opened as if it never had",
        "meshd/daemon.py",
        "thorough=is_suspect)",
        "thorough=False)",
        "tests/faults/test_database.py::test_108_an_index_that_is_not_that_of_its_table_is_met_and_the_database_built_anew",
    ),
    Mutation(
        "memory: a life that ended stays for as long as the process",
        "meshd/memory.py",
        "    gc.unfreeze()\n",
        "",
        "tests/system/test_state.py::test_a_life_that_ended_with_its_database_does_not_stay_in_memory",
    ),
    Mutation(
        "watching: what came and went before a directory was watched stays",
        "meshd/watcher/scanner.py",
        "        if entered:\n",
        "        if not entered:\n",
        "tests/watcher/test_directories.py::test_in_a_directory_that_appears_all_that_is_known_is_asked_for",
    ),
    Mutation(
        "watching: nobody looks where a directory was entered",
        "meshd/reconciler.py",
        "for path in registry.paths_within(one)}",
        "for path in [one][:0]}",
        "tests/shell/test_put_off.py::test_what_was_known_in_a_directory_that_is_entered_is_looked_at_and_nothing_else",
    ),
    Mutation(
        "second looks: a sweep takes a loss over that an event has reported",
        "meshd/core/pending.py",
        "source = before.source  #",
        "source = seen.source  #",
        "tests/shell/test_put_off.py::test_the_mass_guard_holds_nothing_that_events_have_reported",
    ),
    Mutation(
        "second looks: the last round of a sweep forgets what it leaves",
        "meshd/course.py",
        "closed.verdicts.keys() - closed.costly)\n        return",
        "closed.verdicts)\n        return",
        "tests/shell/test_put_off.py::test_the_last_round_of_a_sweep_leaves_a_loss_to_the_event_that_told_of_it",
    ),
    Mutation(
        "store: one bad read condemns a database",
        "meshd/store/connection.py",
        "    except _DAMAGE as error:\n        first = error\n    except",
        "    except _DAMAGE:\n        return Condition.DAMAGED\n    except",
        "tests/store/test_examine.py::test_a_text_file_where_no_database_was_is_not_ours_to_move",
    ),
    Mutation(
        "store: two daemons share a state directory",
        "meshd/opening.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "tests/store/test_lock.py::test_a_second_process_is_refused_until_the_first_has_ended",
    ),
    Mutation(
        "store: the log is cut in its middle",
        "meshd/store/changelog.py",
        '        "DELETE FROM changes WHERE seq < coalesce("\n'
        '        "(SELECT seq FROM changes WHERE at >= ? ORDER BY seq LIMIT 1),"\n'
        '        " (SELECT max(seq) + 1 FROM changes))",\n',
        '        "DELETE FROM changes WHERE at < ?",\n',
        "tests/store/test_changelog.py::test_pruning_cuts_the_log_at_its_end_only",
    ),
)
