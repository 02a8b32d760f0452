#!/usr/bin/env bash
# Everything that `make test` checks, after setup. One profile and one package selection for every cargo
# command, so that RocksDB is compiled once; RUSTFLAGS is never set, it would compile it again.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/tools/parts.sh
# The browser tests' own default is Debian's /usr/bin/chromium.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [[ -n $browser ]]; then export CHROMIUM=${CHROMIUM:-$browser}; fi
all=(--release --locked --workspace)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

rustdoc() { RUSTDOCFLAGS="-D warnings" cargo doc "${all[@]}" --no-deps --document-private-items; }
rust_tests() { cargo test "${all[@]}" 2>&1 | tee "$log"; }

# Tests that ran, added up over all binaries.
rust_tests_passed() { awk '/^test result: / { n += $4 } END { print n + 0 }' "$log"; }

# What the engine may not have: a clock, files or sockets of its own. On wasm32 they would be imports from "env".
wasm_imports() {
  node -e '
    const fs = require("fs");
    const module = new WebAssembly.Module(fs.readFileSync(process.argv[1]));
    const imports = WebAssembly.Module.imports(module);
    const foreign = imports.filter(({ module }) => !/^(wbg|[.][/]backscroll_wasm_bg[.]js)$/.test(module));
    console.log(`${imports.length} imports, ${foreign.length} of them not from wasm-bindgen`);
    for (const { module, name } of foreign) console.error(`  imports ${module}.${name}`);
    process.exit(foreign.length === 0 ? 0 : 1);
  ' wasm/pkg/backscroll_wasm_bg.wasm
}

# The script NAME of the package in FOLDER: all three are demanded, so a lost script is a failure.
npm_script() { npm run --prefix "$1" "$2"; }

part "format" cargo fmt --all --check
must "build" cargo build "${all[@]}" --all-targets
part "clippy" cargo clippy "${all[@]}" --all-targets -- -D warnings
part "rustdoc" rustdoc
part "core on wasm32" cargo check --release --locked -p backscroll-core --target wasm32-unknown-unknown
part "Rust tests" rust_tests
part "wasm package" make --no-print-directory wasm
part "wasm imports" wasm_imports
part "npm package: types" npm_script wasm typecheck
part "npm package: lint" npm_script wasm lint
part "npm package: tests" npm_script wasm test
part "web-demo" make --no-print-directory web
part "web-demo: types" npm_script web-demo typecheck
part "web-demo: lint" npm_script web-demo lint
part "check-chat" node tests/tools/check-chat.mjs
part "stock Automerge" npm_script tests/interop test
part "Chromium" npm_script tests/browser test
part "licences" cargo deny --locked check bans licenses sources

summary "make test" || exit 1
echo "all parts passed; $(rust_tests_passed) Rust tests ran"
