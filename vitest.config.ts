import { defineConfig } from 'vitest/config'

const here = import.meta.dirname

export default defineConfig({
  // Examples of the documentation import the package by its name.
  resolve: { alias: { 'iomm/node': `${here}/src/node/index.ts`, iomm: `${here}/src/index.ts` } },
  test: { include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts'], testTimeout: 60_000 },
})
