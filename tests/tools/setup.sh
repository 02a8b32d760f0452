#!/usr/bin/env bash
# Brings what building needs onto this machine; what is there already is left alone. setup.sh GOAL:
#   relay  compilers, enough for the binary
#   demo   and what builds the engine in Wasm and the page
#   test   and the browser, cargo-deny, the tests' npm packages
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/tools/parts.sh
goal=$1
root=${BACKSCROLL_TOOLS:?set by the Makefile}
# Set by a caller that ran this for all it does.
if [[ -n ${BACKSCROLL_SETUP_DONE:-} ]]; then exit; fi

system_packages() {
  local wanted=(ca-certificates libclang-dev g++ make pkg-config) missing=() name
  if [[ $goal == test && -z ${CHROMIUM:-} ]]; then wanted+=(chromium); fi
  if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system; needed here: a C++ compiler, make, pkg-config, libclang, and Chromium for the tests"
    return
  fi
  for name in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if [[ ${#missing[@]} == 0 ]]; then echo "all there: ${wanted[*]}"; return; fi
  local as_root=()
  if [[ $(id -u) != 0 ]]; then as_root=(sudo -n); fi
  if ! "${as_root[@]}" true 2>/dev/null; then
    echo "please install: sudo apt-get install ${missing[*]}"
    return 1
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

# rust-toolchain.toml names the version, the components and the wasm32 target.
rust_toolchain() {
  command -v cargo >/dev/null || { echo "please install Rust: https://rustup.rs"; return 1; }
  if rustc --version && cargo clippy --version && cargo fmt --version &&
    [[ -d $(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown ]]; then return; fi
  command -v rustup >/dev/null || { echo "please install the toolchain that rust-toolchain.toml names"; return 1; }
  rustup toolchain install
}

# cargo_tool NAME VERSION [FLAG...]
# Their target folder stays: another setup may be at work in it, and one that was broken off goes on from there.
# Optimised little and without cargo-deny's own fat LTO: these run for seconds, compiling them takes minutes.
cargo_tool() {
  local name=$1 version=$2
  if grep -qs "^\"$name $version " "$root/.crates.toml"; then echo "$name $version is there"; return; fi
  local install=(env "CARGO_TARGET_DIR=$root/tools-target" CARGO_PROFILE_RELEASE_LTO=off
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    cargo install --root "$root" --version "=$version" "${@:3}" "$name")
  if "${install[@]}" --locked; then return; fi
  # A registry mirror can lack a version that the tool's own lock file names (wasm-bindgen-cli 0.2.130 names
  # webpki-roots 1.0.11). The tool's version stays fixed; only what it is built from is then resolved anew.
  echo "$name $version: its lock file cannot be met here; resolving its dependencies anew"
  "${install[@]}"
}

npm_packages() {
  local lock=$1/package-lock.json stamp=$1/node_modules/.backscroll-stamp
  if cmp -s "$lock" "$stamp"; then echo "$1: as in package-lock.json"; return; fi
  # The tests drive the system's Chromium, so no driver is to download one.
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix "$1" --no-audit --no-fund &&
    cp "$lock" "$stamp"
}

wasm_bindgen_version() {
  awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[",]/, ""); print $3; exit }' Cargo.lock
}

must "system packages" system_packages
must "Rust toolchain" rust_toolchain
folders=()
if [[ $goal != relay ]]; then
  # Its default features are TLS for downloads of its test runner, which nothing here uses.
  must "wasm-bindgen" cargo_tool wasm-bindgen-cli "$(wasm_bindgen_version)" --no-default-features
  must "wasm-pack" cargo_tool wasm-pack 0.15.1
  folders+=(wasm web-demo)
fi
if [[ $goal == test ]]; then
  must "cargo-deny" cargo_tool cargo-deny 0.20.2
  folders+=(tests/interop tests/browser)
fi
for folder in "${folders[@]}"; do must "npm packages of $folder" npm_packages "$folder"; done
summary "setup for $goal"
