import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// In development the relay runs beside Vite.
const relay = 'http://127.0.0.1:8787';

export default defineConfig({
  plugins: [react()],
  // The engine's Wasm is found by `new URL(..., import.meta.url)`; pre-bundling would break that.
  optimizeDeps: { exclude: ['backscroll'] },
  build: { target: 'es2023' },
  server: { proxy: { '/api': relay, '/sync': { target: relay, ws: true } } },
});
