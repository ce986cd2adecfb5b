/** The programs of `npm run bench`, `npm run fuzz` and `npm run docs`: never published. */
import { defineConfig } from 'tsdown'

export default defineConfig({
  entry: { bench: 'bench/main.ts', fuzz: 'test/fuzz-main.ts', docs: 'scripts/docs/main.ts' },
  outDir: 'out',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  fixedExtension: false,
  dts: false,
})
