#!/usr/bin/env bash
# Builds the wheel, installs it alone into a new environment, and uses it from an empty folder, as somebody would who has no checkout.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$("$root/scripts/find-python")

git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && xargs -0 cp --parents -t "$work/" 2>/dev/null || true)
mkdir "$work/dist" "$work/empty"
"$python" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check "pip>=24"
"$work/env/bin/pip" wheel --quiet --no-deps --wheel-dir "$work/dist" "$work"
size=$(stat -c %s "$work"/dist/*.whl)
echo "wheel: $size bytes"
"$work/env/bin/pip" install --quiet --only-binary :all: "$work"/dist/*.whl
cd "$work/empty"
env -u PYTHONPATH "$work/env/bin/streamcls" plugins
env -u PYTHONPATH "$work/env/bin/streamcls" models
env -u PYTHONPATH "$work/env/bin/streamcls" check
env -u PYTHONPATH "$work/env/bin/streamcls" classify "$root/plugins/streamcls_demo/programme.opus"
"$work/env/bin/python" - <<'PY'
import importlib.util

for name in ("tensorflow", "keras", "librosa", "scipy"):
    assert importlib.util.find_spec(name) is None, f"{name} came with a plain installation"
PY
code=0
"$work/env/bin/streamcls" train "$root/models/genre-cnn/recipe.toml" 2>train.err || code=$?
[ "$code" = 1 ] || { cat train.err; echo "train without TensorFlow ended with $code, expected 1"; exit 1; }
grep -q "streamcls\[train\]" train.err
echo "plain installation: in order"
