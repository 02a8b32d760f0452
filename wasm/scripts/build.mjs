// Makes dist/ of js/ and of what wasm-pack left in pkg/.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const from = (name) => join(root, 'pkg', name);
const to = (name) => join(root, 'dist', name);

rmSync(to('.'), { recursive: true, force: true });
mkdirSync(to('.'), { recursive: true });
execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], { stdio: 'inherit' });

// The glue would name the module a second time; bundlers would copy it twice.
const glue = readFileSync(from('backscroll_wasm.js'), 'utf8');
const fallback = /module_or_path = new URL\('backscroll_wasm_bg\.wasm', import\.meta\.url\);/;
if (!fallback.test(glue)) throw new Error('the glue of wasm-bindgen has changed: scripts/build.mjs must follow');
writeFileSync(to('glue.js'), glue.replace(fallback, "throw new TypeError('no module given');"));
copyFileSync(join(root, 'js/glue.d.ts'), to('glue.d.ts'));
copyFileSync(from('backscroll_wasm_bg.wasm'), to('backscroll.wasm'));

const wasm = readFileSync(to('backscroll.wasm'));
console.log(`backscroll.wasm: ${wasm.length} bytes, ${gzipSync(wasm, { level: 9 }).length} gzip`);
