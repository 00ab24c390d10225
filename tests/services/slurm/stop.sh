#!/usr/bin/env bash
# Stop what start.sh DIR started: first those who ask others while they end (jobs' daemons, then accounting), then the rest.
DIR=$(realpath -m "$1")
end() {
    local number numbers=()
    for pid in "$@"; do
        [ -f "$DIR/$pid" ] || continue
        number=$(cat "$DIR/$pid")
        kill "$number" 2>/dev/null && numbers+=("$number")
    done
    for _ in $(seq 100); do
        kill -0 "${numbers[@]}" 2>/dev/null || return
        sleep 0.1
    done
    kill -9 "${numbers[@]}" 2>/dev/null
}
end ssh/sshd.pid slurmd.pid slurmctld.pid
end slurmdbd.pid
end maria/pid munge/munged.pid
true
