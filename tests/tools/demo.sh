#!/usr/bin/env bash
# `make demo`, once everything is built: fills the data folder on the first run, then serves until Ctrl-C.
# From the Makefile: BACKSCROLL_BIN, LISTEN, DATA, CHAT.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/tools/parts.sh
backscroll=$BACKSCROLL_BIN
scratch=$(mktemp -d)
started=()

# However this ends, the relay and the simulator end with it: SIGTERM lets the relay drain.
finish() {
  trap '' INT TERM
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" || true; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 0' INT TERM

# The mark is written last: a first run that was broken off imports again, which adds only what is missing.
fill_million() {
  "$backscroll" simulate --out "$scratch/million.jsonl" --channel '#million' --count 1000000 --seed 1 &&
    "$backscroll" import --data "$DATA" "$scratch/million.jsonl" &&
    rm "$scratch/million.jsonl" &&
    touch "$DATA/.demo-filled"
}

await_relay() {
  local line
  until line=$(grep -om1 'http://.*' "$scratch/relay.out"); do
    kill -0 "${started[0]}" 2>/dev/null || { echo "the relay did not start" >&2; return 1; }
    sleep 0.1
  done
  echo "$line"
}

if [[ ! -f $DATA/.demo-filled ]]; then must "1,000,000 messages for #million" fill_million; fi
if [[ -n $CHAT ]]; then must "import of $CHAT" "$backscroll" import --data "$DATA" "$CHAT"; fi

"$backscroll" serve --listen "$LISTEN" --data "$DATA" --web web-demo/dist >"$scratch/relay.out" &
started+=($!)
url=$(await_relay)
"$backscroll" simulate --relay "$url" --channel '#live' --rate 2 --late 5 --chunk 100:20 >/dev/null &
started+=($!)

printf '\n  Backscroll is at  %s\n' "$url"
printf '  a million messages  %s/#/c/%%23million\n  live, some late     %s/#/c/%%23live\n  Ctrl-C stops it.\n\n' "$url" "$url"
wait -n "${started[@]}" || true
echo "the relay or the simulator ended by itself" >&2
exit 1
