#!/usr/bin/env bash
# Start a private Slurm (munge, MariaDB, slurmdbd, slurmctld, slurmd) and sshd under DIR, on loopback, without systemd.
#     start.sh DIR
# As root; DIR and its parents must be enterable for user mysql. Stop it with stop.sh DIR.
set -euo pipefail
DIR=$(realpath -m "$1")
HERE=$(cd "$(dirname "$0")" && pwd)
M=$DIR/munge A=$DIR/maria S=$DIR/ssh
export SLURM_CONF=$DIR/slurm.conf
until_ok() { for _ in $(seq 120); do "$@" >/dev/null 2>&1 && return; sleep 0.5; done; echo "gave up: $*" >&2; return 1; }
mkdir -p "$M" "$A" "$DIR/state" "$DIR/spool" "$S" /run/sshd
chmod 0755 "$DIR" "$M" "$A" "$S"
chown mysql "$A"
cp "$HERE/gres.conf" "$DIR"
for f in slurm slurmdbd; do sed "s|\$DIR|$DIR|g" "$HERE/$f.conf.in" > "$DIR/$f.conf"; done
chmod 600 "$DIR/slurmdbd.conf"
[ -f "$M/key" ] || { dd if=/dev/urandom of="$M/key" bs=1 count=1024 2>/dev/null; chmod 0400 "$M/key"; }
munged --force --key-file="$M/key" --socket="$M/munge.socket" --pid-file="$M/munged.pid" --log-file="$M/munged.log" \
    --seed-file="$M/seed" --num-threads=2
# accounting: without it AiiDA cannot tell a walltime from any other end
[ -d "$A/data/mysql" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$A/data" \
    --auth-root-authentication-method=normal --skip-test-db >"$A/install.log" 2>&1
setsid mariadbd --no-defaults --user=mysql --datadir="$A/data" --socket="$A/s" --pid-file="$A/pid" --bind-address=127.0.0.1 \
    --port=33306 --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --log-error="$A/error.log" \
    </dev/null >/dev/null 2>&1 &
until_ok mariadb-admin --no-defaults -S "$A/s" -uroot ping
{
    echo 'create database if not exists slurm_acct_db;'
    for h in localhost 127.0.0.1; do
        echo "create user if not exists 'slurm'@'$h' identified by 'slurm'; grant all on slurm_acct_db.* to 'slurm'@'$h';"
    done
} | mariadb --no-defaults -S "$A/s" -uroot
SLURM_CONF=$DIR/slurm.conf slurmdbd
until_ok sacctmgr -n show cluster
for x in 'cluster mlfctest' 'account acc' 'user root account=acc'; do sacctmgr -i add $x >/dev/null || true; done
slurmctld -f "$SLURM_CONF"
slurmd -N localhost -f "$SLURM_CONF"
until_ok sh -c 'sinfo -h -o %t | grep -q idle'
# an SSH server for remote transports
for k in hostkey id; do [ -f "$S/$k" ] || ssh-keygen -q -t ed25519 -N '' -f "$S/$k"; done
cp "$S/id.pub" "$S/authorized_keys"
chmod 600 "$S/authorized_keys"
cat > "$S/sshd_config" <<C
Port 36822
ListenAddress 127.0.0.1
HostKey $S/hostkey
PidFile $S/sshd.pid
AuthorizedKeysFile $S/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
MaxSessions 100
SetEnv SLURM_CONF=$DIR/slurm.conf
Subsystem sftp internal-sftp
C
/usr/sbin/sshd -f "$S/sshd_config" -E "$S/sshd.log"
until_ok sh -c "ssh-keyscan -p 36822 127.0.0.1 2>/dev/null > '$S/known_hosts' && [ -s '$S/known_hosts' ]"
