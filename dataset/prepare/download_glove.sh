#!/usr/bin/env bash
# Fetch the word vectors of the evaluator into glove/. What is there already is kept; run again to go on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$python" -m dataset.prepare.download glove "$@"
