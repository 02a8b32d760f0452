import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';
import { VitePWA } from 'vite-plugin-pwa';

// In development the relay runs beside Vite.
const relay = 'http://127.0.0.1:8787';

const offline = VitePWA({
  registerType: 'autoUpdate',
  injectRegister: 'script-defer',
  manifest: {
    name: 'Backscroll',
    short_name: 'Backscroll',
    description: 'Channels of a million messages, in the order they were written, also offline.',
    display: 'standalone',
    theme_color: '#3457d5',
    background_color: '#16181d',
    icons: [{ src: '/icon.svg', sizes: 'any', type: 'image/svg+xml', purpose: 'any' }],
  },
  workbox: {
    // The page, its code, and the engine.
    globPatterns: ['**/*.{html,js,css,wasm,svg,webmanifest}'],
    // The engine is larger than Workbox takes by default (2 MiB).
    maximumFileSizeToCacheInBytes: 16 * 1024 * 1024,
    // Any path is the page, as the relay serves it too; what the relay itself answers is not.
    navigateFallback: '/index.html',
    navigateFallbackDenylist: [/^\/(api|sync|ws|livez|readyz|metrics)\b/],
  },
});

export default defineConfig({
  plugins: [react(), offline],
  // The engine's Wasm is found by `new URL(..., import.meta.url)`; pre-bundling would break that.
  optimizeDeps: { exclude: ['backscroll'] },
  build: { target: 'es2023' },
  server: { proxy: { '/api': relay, '/sync': { target: relay, ws: true } } },
});
