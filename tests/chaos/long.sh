#!/usr/bin/env bash
# All long runs, one after the other, whatever one of them comes to; the tables of
# docs/reliability.md go to $TABLE (var/chaos.md). Arguments are those of `python -m tests.chaos`.
# MINUTES: of the soak at the end.
set -uo pipefail
cd "$(dirname "$0")/../.."
python="${VENV:-.venv}/bin/python"
table="${TABLE:-var/chaos.md}"
mkdir -p "$(dirname "$table")"
failed=0
"$python" -m tests.chaos --long --table "$table" "$@" || failed=1
"$python" -m tests.chaos.mutants --table "$table" || failed=1
"$python" -m tests.chaos.peers --table "$table" || failed=1
"$python" -m tests.chaos.soak --minutes "${MINUTES:-60}" --table "$table" || failed=1
exit "$failed"
