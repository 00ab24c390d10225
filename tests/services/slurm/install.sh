#!/usr/bin/env bash
# Slurm with accounting and an SSH server, from the distribution's packages (Debian, Ubuntu); as root.
set -euo pipefail
if command -v slurmctld slurmd slurmdbd munged mariadbd sshd >/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null || { echo 'no apt-get: install Slurm, munge, MariaDB and OpenSSH by hand' >&2; exit 1; }
apt-get -o DPkg::Lock::Timeout=600 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends \
    slurm-wlm slurmdbd munge mariadb-server openssh-server >/dev/null
