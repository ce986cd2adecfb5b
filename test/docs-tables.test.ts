/** The generated parts of docs/ are what the code says. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fill } from '../scripts/docs/blocks.ts'
import { PAGES } from '../scripts/docs/pages.ts'

const root = resolve(import.meta.dirname, '..')

describe('generated parts of the documentation', () => {
  for (const [page, blocks] of Object.entries(PAGES))
    it(`${page} is up to date (else: npm run docs)`, () => {
      const text = readFileSync(join(root, page), 'utf8')
      expect(text).toBe(fill(text, blocks, page))
    })
})
