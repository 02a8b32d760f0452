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

// The glue of wasm-bindgen is a module with one instance of the engine, for good. Here it becomes a function
// that makes one each time, so that an engine that broke off can be replaced by one with memory of its own.
const glue = readFileSync(from('backscroll_wasm.js'), 'utf8');
const changes = [
  // It would name the module a second time; bundlers would copy it twice.
  [/module_or_path = new URL\('backscroll_wasm_bg\.wasm', import\.meta\.url\);/, "throw new TypeError('no module given');"],
  [/^export class Engine /m, 'class Engine '],
  [/^export function lastPanic\(/m, 'function lastPanic('],
  [/^export function start\(/m, 'function start('],
  [/^export \{ initSync, __wbg_init as default \};$/m, 'return { Engine, lastPanic, init: __wbg_init, module: () => wasmModule };'],
];
let body = glue;
for (const [found, put] of changes) {
  if (!found.test(body)) throw new Error(`the glue of wasm-bindgen has changed, scripts/build.mjs must follow: ${found}`);
  body = body.replace(found, put);
}
if (/^(export|import) /m.test(body)) throw new Error('the glue of wasm-bindgen has other exports, or imports');
// An instance goes as a whole; nothing may run in one that broke off.
writeFileSync(to('glue.js'), `export function makeGlue() {\nconst FinalizationRegistry = undefined;\n${body}}\n`);
copyFileSync(join(root, 'js/glue.d.ts'), to('glue.d.ts'));

// Most functions are there many times over, one for each type. Side by side they compress to 9 % less: gzip sees
// 32 kB back. The names that this goes by, and equal functions, go.
const optimizer = join(root, 'node_modules/binaryen/bin/wasm-opt');
const passes = ['--duplicate-function-elimination', '--reorder-functions-by-name', '--strip-debug', '--strip-producers'];
execFileSync(process.execPath, [optimizer, from('backscroll_wasm_bg.wasm'), ...passes, '-o', to('backscroll.wasm')], { stdio: 'inherit' });

const wasm = readFileSync(to('backscroll.wasm'));
console.log(`backscroll.wasm: ${wasm.length} bytes, ${gzipSync(wasm, { level: 9 }).length} gzip`);
