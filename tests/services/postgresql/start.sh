#!/usr/bin/env bash
# Start a private PostgreSQL under DIR on 127.0.0.1:PORT, with user and database "aiida" (password aiida).
#     start.sh DIR PORT
# postgres refuses to run as root: as root it runs as user postgres, who must be able to enter DIR. Stop: stop.sh DIR.
set -euo pipefail
DIR=$(realpath -m "$1")
PORT=$2
BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
BIN=${BIN:-$(dirname "$(command -v initdb)")}
mkdir -p "$DIR"
as_server() {
    if [ "$(id -u)" = 0 ]; then (cd "$DIR" && setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); else "$@"; fi
}
if [ "$(id -u)" = 0 ]; then chown postgres "$DIR"; chmod 0755 "$DIR"; fi
if [ ! -d "$DIR/data" ]; then
    as_server sh -c "umask 077; echo postgres > '$DIR/pw'"
    as_server "$BIN/initdb" -D "$DIR/data" -U postgres -A scram-sha-256 --pwfile="$DIR/pw" -E UTF8 --locale=C \
        > "$DIR/initdb.log" 2>&1 || { cat "$DIR/initdb.log" >&2; exit 1; }
fi
as_server "$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -w \
    -o "-c listen_addresses=127.0.0.1 -p $PORT -c unix_socket_directories=$DIR -c fsync=off" start > "$DIR/start.log" 2>&1 ||
    { cat "$DIR/start.log" "$DIR/log" >&2; exit 1; }
export PGPASSWORD=postgres
psql() { "$BIN/psql" -q -h 127.0.0.1 -p "$PORT" -U postgres -d postgres "$@"; }
[ "$(psql -tAc "select 1 from pg_roles where rolname='aiida'")" = 1 ] || psql -c "create user aiida with password 'aiida'"
[ "$(psql -tAc "select 1 from pg_database where datname='aiida'")" = 1 ] || psql -c 'create database aiida owner aiida'
