#!/usr/bin/env bash
# Fetch the public Bandai-Namco motion dataset (CC BY-NC 4.0) and prepare it. What is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=https://github.com/BandaiNamcoResearchInc/Bandai-Namco-Research-Motiondataset
clone=output/download/Bandai-Namco-Research-Motiondataset
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)

if [ ! -d "$clone/.git" ]; then
    mkdir -p "$(dirname "$clone")"
    rm -rf "$clone.part" # left by an interrupted run of this script
    git clone --depth 1 "$repository" "$clone.part" || {
        echo "error: cannot fetch $repository: fetch it by hand and run: python -m dataset.prepare.bandai --source FOLDER" >&2
        exit 2
    }
    mv "$clone.part" "$clone"
fi
"$python" -m dataset.prepare.bandai --source "$clone"
