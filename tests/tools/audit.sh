#!/usr/bin/env bash
# Looks up known vulnerabilities of what the project is built from. The lists are on the network: where they
# cannot be reached it says so and shows nothing, which is not a failure.
set -uo pipefail
cd "$(dirname "$0")/../.."
unreachable=() failed=()

# check NAME PATTERN COMMAND...: a failure whose output matches PATTERN is one of the network.
check() {
  local name=$1 pattern=$2 output status
  shift 2
  printf '== %s\n' "$name"
  output=$("$@" 2>&1)
  status=$?
  printf '%s\n' "$output" | tail -n 20
  if [[ $status == 0 ]]; then return; fi
  if grep -qiE "$pattern" <<<"$output"; then unreachable+=("$name"); else failed+=("$name"); fi
}

check "crates" 'failed to fetch|could not connect|unable to (access|clone)|failed to (open|connect)|error sending request|network' \
  cargo deny --locked check advisories
for folder in wasm web-demo tests/browser tests/interop; do
  check "npm: $folder" 'ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|audit endpoint returned an error|not (implemented|supported)|E40[0-9]|E50[0-9]' \
    npm audit --prefix "$folder" --omit=dev --audit-level=high
done

if [[ ${#unreachable[@]} != 0 ]]; then echo "not looked up, the list cannot be reached from here:$(printf ' [%s]' "${unreachable[@]}")"; fi
if [[ ${#failed[@]} != 0 ]]; then echo "known vulnerabilities:$(printf ' [%s]' "${failed[@]}")" >&2; exit 1; fi
echo "nothing known in what could be looked up"
