#!/usr/bin/env bash
# Fetch the published models into output/vq/, output/t2m/ and output/eval/. What is there already is kept; run again to go on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$python" -m dataset.prepare.download model "$@"
