#!/bin/sh
# Count the error lines of a log by message, most frequent first: triage.sh FILE
grep -o 'error: .*' "$1" | sort | uniq -c | sort -rn | head -20
