#!/usr/bin/env bash
# From nothing but the package manager to silicon by pw.x and a potential compared with it: programs, environment, a
# profile under .dft-silicon/, rows and page there. Debian or Ubuntu; as root where programs are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
command -v make >/dev/null || missing+=(make)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
fi
bash tests/services/install_quantum_espresso.sh
make install
mkdir -p .dft-silicon
# One thread for both, so that their times can be compared.
export AIIDA_PATH="$PWD/.dft-silicon" OMP_NUM_THREADS=1
.venv/bin/python workflows/dft_reference_silicon.py .dft-silicon
