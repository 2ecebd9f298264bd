#!/usr/bin/env bash
# The whole LCVD grid on one GPU machine, unattended, without network, in under 8 minutes:
#   bench/gpu.sh [OUT]            results into OUT (default ./bench-gpu): table.txt, lcvd.json, lcvd.png
# Random weights of the published size are made on the device, so nothing is fetched. Without a GPU it runs dry: the tiny
# model on the CPU through the same lines, and the floor by operations over rate.
# PYTHON names an interpreter that has torch, diffusers and transformers (default: .venv/bin/python, else python3).
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench-gpu}
mkdir -p "$out"
python=${PYTHON:-}
[ -n "$python" ] || { [ -x .venv/bin/python ] && python=.venv/bin/python || python=python3; }
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 COLUMNS=150
"$python" - <<'PY' || exit 2
import importlib.util, sys
missing = [name for name in ("torch", "diffusers", "transformers", "typer", "rich", "cv2", "numba") if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(f"bench/gpu.sh: {sys.executable} lacks {', '.join(missing)}; pip install -e '.[lcvd]', or name another with PYTHON=")
import torch
print(f"python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {'yes: ' + torch.cuda.get_device_name() if torch.cuda.is_available() else 'no: dry run'}")
PY
plot=(--plot "$out/lcvd.png")
"$python" -c 'import matplotlib' 2>/dev/null || plot=()
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv 2>/dev/null
    set -- --weights auto --backends eager,compiled,tensorrt,torch-tensorrt --precisions bf16,fp16 --budget-s 400
else
    set -- --weights random-tiny --backends eager --steps 1,2,4 --strides 4,10 --camera-fps 10 --live-seconds 4 --budget-s 120
fi
# 450 s at most, whatever a compiler does: what was measured by then is in table.txt.
timeout 450 "$python" -m server.cli.main bench lcvd "$@" "${plot[@]}" 2>"$out/errors.txt" | tee "$out/table.txt"
status=${PIPESTATUS[0]}
tail -n 1 "$out/table.txt" | grep '^{' >"$out/lcvd.json" || rm -f "$out/lcvd.json"
[ "$status" -eq 0 ] || { tail -n 20 "$out/errors.txt" >&2; echo "bench/gpu.sh: ended with status $status" >&2; }
exit "$status"
