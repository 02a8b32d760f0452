// Lints of the npm package: strict and with types for js/, plain for scripts and tests.
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const node = Object.fromEntries(
  ['process', 'console', 'URL', 'Buffer', 'setTimeout', 'clearTimeout', 'setImmediate', 'performance', 'globalThis', 'fetch', 'WebAssembly', 'WebSocket', 'crypto']
    .map((name) => [name, 'readonly']),
);

export default tseslint.config(
  { ignores: ['dist', 'pkg', 'node_modules', 'target'] },
  js.configs.recommended,
  {
    files: ['js/**/*.ts'],
    ignores: ['**/*.d.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    // `this: void` says of a method that it can be handed on by itself.
    rules: { '@typescript-eslint/no-invalid-void-type': ['error', { allowAsThisParameter: true }] },
  },
  { files: ['**/*.d.ts'], extends: [...tseslint.configs.recommended] },
  { files: ['**/*.mjs', '*.js'], languageOptions: { globals: node } },
);
