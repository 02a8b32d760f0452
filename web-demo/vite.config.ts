import { serwist } from '@serwist/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// In development the relay runs beside Vite.
const relay = 'http://127.0.0.1:8787';

const serviceWorker = serwist({
  swSrc: 'sw/sw.ts',
  swDest: 'sw.js',
  globDirectory: 'dist',
  // The page, its code, and the engine.
  globPatterns: ['**/*.{html,js,css,wasm,svg,webmanifest}'],
  // These have the hash of their content in their names.
  dontCacheBustURLsMatching: /^assets\//,
  // The engine is larger than the default of 2 MiB allows for.
  maximumFileSizeToCacheInBytes: 16 * 1024 * 1024,
  rollupFormat: 'iife',
});

export default defineConfig({
  plugins: [react(), serviceWorker],
  // The engine's Wasm is found by `new URL(..., import.meta.url)`; pre-bundling would break that.
  optimizeDeps: { exclude: ['backscroll'] },
  build: { target: 'es2023' },
  server: { proxy: { '/api': relay, '/sync': { target: relay, ws: true } } },
});
