# Runs named parts of a job and says how long each took; to be sourced.
#
#   part NAME COMMAND...   run it; a failure is remembered and the job goes on
#   must NAME COMMAND...   run it; a failure ends the job, since what follows needs it
#   summary TITLE          the table; returns 1 if a part failed

parts_names=() parts_times=() parts_states=()
parts_begin=$SECONDS

record() {
  parts_names+=("$1") parts_times+=("$2") parts_states+=("$3")
  printf '== %s: %s (%d s)\n' "$1" "$3" "$2"
}

part() {
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@" </dev/null; then
    record "$name" $((SECONDS - begin)) ok
  else
    record "$name" $((SECONDS - begin)) FAILED
    return 1
  fi
}

must() {
  part "$@" || { summary "stopped at: $1"; exit 1; }
}

summary() {
  local i failed=0
  printf '\n-- %s --\n' "$1"
  for i in "${!parts_names[@]}"; do
    printf '%6d s  %-26s %s\n' "${parts_times[$i]}" "${parts_names[$i]}" "${parts_states[$i]}"
    [[ ${parts_states[$i]} != FAILED ]] || failed=1
  done
  printf '%6d s  all parts\n' $((SECONDS - parts_begin))
  return "$failed"
}
