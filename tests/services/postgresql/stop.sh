#!/usr/bin/env bash
# Stop what start.sh DIR started.
DIR=$(realpath -m "$1")
[ -f "$DIR/data/postmaster.pid" ] || exit 0
number=$(head -1 "$DIR/data/postmaster.pid")
kill -INT "$number" 2>/dev/null
for _ in $(seq 40); do kill -0 "$number" 2>/dev/null || exit 0; sleep 0.25; done
kill -QUIT "$number" 2>/dev/null
true
