import { describe, expect, it } from 'vitest'
import { TagAllocator } from './tags.ts'

describe('tags', () => {
  it('are given from 1, the lowest free one first', () => {
    const tags = new TagAllocator<string>('ASID', 4)
    expect([tags.allocate('a'), tags.allocate('b'), tags.allocate('c')]).toEqual([1, 2, 3])
    tags.free(2)
    tags.free(1)
    expect([tags.allocate('d'), tags.allocate('e'), tags.allocate('f')]).toEqual([1, 2, 4])
  })
  it('run out, and say so', () => {
    const tags = new TagAllocator<string>('ASID', 2)
    for (const owner of ['a', 'b', 'c']) tags.allocate(owner)
    expect(() => tags.allocate('d')).toThrow(
      expect.objectContaining({ code: 'AsidExhausted', message: expect.stringContaining('all 3 ASIDs') }),
    )
    tags.free(3)
    expect(tags.allocate('d')).toBe(3)
  })
  it('leave out a number that was taken', () => {
    const tags = new TagAllocator<string>('ASID', 8)
    tags.take(2, 'process')
    expect([tags.allocate('a'), tags.allocate('b')]).toEqual([1, 3])
    expect([tags.owner(2), tags.owner(3), tags.owner(9)]).toEqual(['process', 'b', undefined])
  })
})
