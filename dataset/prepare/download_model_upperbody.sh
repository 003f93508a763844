#!/usr/bin/env bash
# Fetch the published upper-body models into output/vq/vq_upperbody/ and output/t2m/trans_upperbody/. What is there already is kept; run again to go on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$python" -m dataset.prepare.download upperbody "$@"
