import { describe, expect, it } from 'vitest'
import { fill, table } from './blocks.ts'

describe('generated parts of pages', () => {
  const page = 'before\n<!-- generated: a -->\nold\n<!-- end: a -->\nafter\n'

  it('are replaced, and nothing else is', () => {
    const filled = 'before\n<!-- generated: a -->\n\nnew\n\n<!-- end: a -->\nafter\n'
    expect(fill(page, { a: () => 'new\n' }, 'page')).toBe(filled)
    expect(fill(filled, { a: () => 'new' }, 'page')).toBe(filled)
  })

  it('must be there, be known, and end', () => {
    expect(() => fill(page, { a: () => '', b: () => '' }, 'page')).toThrow('page: no place for b')
    expect(() => fill(page, {}, 'page')).toThrow('page: nothing makes the block a')
    expect(() => fill(page.replace('end: a', 'end: b'), { a: () => '' }, 'page')).toThrow("block a ends with 'end: b'")
  })

  it('hold tables whose cells may have bars', () => {
    expect(table(['x', 'y'], [['a|b', 'c\n  d']])).toBe('| x | y |\n|---|---|\n| a\\|b | c d |')
  })
})
