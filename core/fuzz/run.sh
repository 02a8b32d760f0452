#!/usr/bin/env bash
# Fuzzes each target for TIME seconds: run.sh TIME [TARGET...]. What is new and interesting goes to corpus/,
# what breaks to artifacts/; seeds/ is only read.
set -euo pipefail
cd "$(dirname "$0")/.."
time=$1
targets=("${@:2}")
if [[ ${#targets[@]} == 0 ]]; then targets=(frames changes bodies records client documents); fi
root=${BACKSCROLL_TOOLS:-$HOME/.cache/backscroll}
export PATH=$root/bin:$PATH
toolchain=${FUZZ_TOOLCHAIN:-nightly}
version=0.13.2

if ! cargo "+$toolchain" --version >/dev/null 2>&1; then
  echo "fuzzing needs a nightly compiler: rustup toolchain install $toolchain --profile minimal" >&2
  exit 1
fi
if ! grep -qs "^\"cargo-fuzz $version " "$root/.crates.toml"; then
  CARGO_TARGET_DIR=$root/tools-target cargo install --root "$root" --version "=$version" --locked cargo-fuzz
fi

# Our code has no unsafe; the address sanitizer would only slow it down.
options=(--fuzz-dir fuzz --sanitizer none --target-dir "${CARGO_TARGET_DIR:-../target}/fuzz")
cargo "+$toolchain" fuzz build "${options[@]}"
failed=()
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  echo "== $target, $time s"
  cargo "+$toolchain" fuzz run "${options[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$time" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 ||
    failed+=("$target")
done
if [[ ${#failed[@]} != 0 ]]; then
  echo "broken: ${failed[*]}; see core/fuzz/artifacts" >&2
  exit 1
fi
echo "${#targets[@]} targets, $time s each: nothing broke"
