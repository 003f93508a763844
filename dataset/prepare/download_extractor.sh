#!/usr/bin/env bash
# Fetch the published evaluators and their statistics into checkpoints/t2m/ and checkpoints/kit/. What is there already is kept; run again to go on.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$python" -m dataset.prepare.download extractor "$@"
