#!/usr/bin/env bash
# Stop what start.sh DIR started.
DIR=$(realpath -m "$1")
for pid in ssh/sshd.pid slurmd.pid slurmctld.pid slurmdbd.pid maria/pid munge/munged.pid; do
    [ -f "$DIR/$pid" ] || continue
    number=$(cat "$DIR/$pid")
    kill "$number" 2>/dev/null
    for _ in $(seq 40); do kill -0 "$number" 2>/dev/null || break; sleep 0.25; done
    kill -9 "$number" 2>/dev/null
done
true
