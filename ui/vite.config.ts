import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

// In development the page is served by Vite and its calls go to a gateway that runs beside it.
const gateway = process.env['SOPHIA_URL'] ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../src/sophia/gateway/static',
    emptyOutDir: true,
    // The first versions with light-dark(), which would otherwise be rewritten into something that does not nest.
    target: ['chrome123', 'edge123', 'firefox121', 'safari17.5'],
    // The content security policy allows no data: URLs.
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: 'react', test: /node_modules\/(react|react-dom|scheduler)\// },
            { name: 'tanstack', test: /node_modules\/@tanstack\// },
          ],
        },
      },
    },
  },
  server: {
    port: 5173,
    proxy: {
      '/v1': gateway,
      '/config.json': gateway,
      '/health': gateway,
    },
  },
  test: {
    environment: 'jsdom',
    setupFiles: ['src/test/setup.ts'],
    css: false,
    testTimeout: 60_000,
    restoreMocks: true,
    unstubGlobals: true,
  },
})
